"""What each recorded answer in `fixtures/usage` has to become: pools, flags, and the price at multiplier 1, by hand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pricing.rating import TokenPools
from sessions_app.llm.usage_chunks import UsageChunks
from sessions_app.llm.usage_shapes import UsageShape

FOLDER = Path(__file__).parent / "fixtures" / "usage"


@dataclass(frozen=True)
class UsageCase:
    """`burned` and `charged` are empty where the file is no chat completion, so that only its usage can be read."""

    name: str
    pools: TokenPools
    burned: str = ""
    charged: str = ""
    flags: tuple[str, ...] = ()
    shape: UsageShape = "auto"
    chunks: UsageChunks = "cumulative"

    @property
    def file(self) -> Path:
        (found,) = FOLDER.glob(f"{self.name}.*")
        return found

    @property
    def is_answer(self) -> bool:
        return bool(self.charged)


NEARLY_ALL_CACHED = TokenPools(5_005, 257_955, 1_248, 89)
OUTSIDE = ("reasoning_outside_output",)
# TokenPools(fresh, cached, cache-write, output, of which reasoning)
CASES = (
    UsageCase("openai_cached_stream", TokenPools(86, 1_920, 0, 300), "0.0522", "0.05221000"),
    UsageCase("openai_cached_stream", TokenPools(86, 1_920, 0, 300), "0.0522", "0.05221000", shape="openai"),
    UsageCase("openai_nearly_all_cached", TokenPools(5_005, 257_955, 0, 1_200), "2.8747", "2.87472500"),
    UsageCase("openai_cache_write", TokenPools(90, 1_024, 4_096, 64, 40), "0.1632", "0.16315000"),
    UsageCase("openai_reasoning", TokenPools(11, 0, 0, 28, 18), "0.0032", "0.00318500"),
    UsageCase("openai_responses_names", TokenPools(92, 1_408, 0, 90, 64), "0.0263", "0.02630000"),
    UsageCase("openai_explicit_zero", TokenPools(), "0.0000", "0.00000000"),
    UsageCase(
        "openai_cached_above_input",
        TokenPools(0, 100, 0, 28),
        "0.0038",
        "0.00380000",
        flags=("cached_exceeds_input",),
    ),
    UsageCase("openrouter_stream", TokenPools(94, 1_800, 300, 122, 100), "0.0440", "0.04399000", shape="openrouter"),
    UsageCase("openrouter_stream", TokenPools(94, 1_800, 300, 122, 100), "0.0440", "0.04399000"),
    UsageCase("anthropic_native_stream", NEARLY_ALL_CACHED),
    UsageCase("anthropic_native_stream", NEARLY_ALL_CACHED, shape="anthropic"),
    UsageCase("anthropic_native_message", TokenPools(21, 0, 188_086, 393, 250)),
    UsageCase("anthropic_in_chunks", NEARLY_ALL_CACHED, "2.8073", "2.80730500"),
    UsageCase("anthropic_in_chunks", NEARLY_ALL_CACHED, "2.8073", "2.80730500", shape="anthropic"),
    UsageCase("anthropic_renamed", TokenPools(1, 153_483, 0, 393), "1.5742", "1.57416500", shape="anthropic"),
    UsageCase("anthropic_renamed", TokenPools(0, 1, 0, 393), "0.0393", "0.03931000", flags=("cached_exceeds_input",)),
    UsageCase("litellm_anthropic", TokenPools(86, 1_664, 256, 300), "0.0586", "0.05861000"),
    UsageCase(
        "gateway_total_with_cache",
        TokenPools(50, 1_000, 0, 20),
        "0.0138",
        "0.01375000",
        flags=("cache_outside_input",),
    ),
    UsageCase("newapi_two_dialects", TokenPools(80, 40, 0, 80), "0.0112", "0.01120000"),
    UsageCase("gemini_native_stream", TokenPools(20, 0, 0, 603, 405)),
    UsageCase("gemini_native_stream", TokenPools(20, 0, 0, 603, 405), shape="gemini"),
    UsageCase("gemini_native_cached_tools", TokenPools(336, 4_014, 0, 180, 120)),
    UsageCase("gemini_native_thoughts_inside", TokenPools(10, 0, 0, 10, 5), flags=("reasoning_inside_output",)),
    UsageCase("gemini_openai_endpoint", TokenPools(20, 0, 0, 603, 405), "0.0610", "0.06100000", flags=OUTSIDE),
    UsageCase(
        "gemini_openai_endpoint",
        TokenPools(20, 0, 0, 603, 405),
        "0.0610",
        "0.06100000",
        flags=OUTSIDE,
        shape="gemini",
    ),
    UsageCase("gemini_by_gateway", TokenPools(21, 0, 0, 60, 60), "0.0067", "0.00673500", flags=OUTSIDE),
    UsageCase("gemini_in_chunks", TokenPools(336, 4_014, 0, 180, 120), "0.0699", "0.06990000", shape="gemini"),
    UsageCase("xai_reasoning", TokenPools(9_992, 128, 0, 4_308, 2_809), "0.7818", "0.78180000", flags=OUTSIDE),
    UsageCase("deepseek_stream", TokenPools(1_040, 8_960, 0, 500, 320), "0.1760", "0.17600000"),
    UsageCase("deepseek_hits_only", TokenPools(1_000, 9_000, 0, 500), "0.1750", "0.17500000"),
    UsageCase("groq_stream", TokenPools(18, 0, 0, 439), "0.0445", "0.04453000"),
    UsageCase("vllm_continuous", TokenPools(10, 32, 0, 4), "0.0011", "0.00107000"),
    UsageCase("llamacpp_stream", TokenPools(1, 31, 0, 20), "0.0023", "0.00234500"),
    UsageCase("moonshot_choice_usage", TokenPools(251, 768, 0, 13), "0.0178", "0.01776500"),
    UsageCase("repeated_in_every_chunk", TokenPools(160, 0, 0, 80), "0.0136", "0.01360000"),
    UsageCase("incremental", TokenPools(10, 32, 0, 4), "0.0011", "0.00107000", chunks="incremental"),
)


def case_id(case: UsageCase) -> str:
    return "-".join((case.name, case.shape, *(["incremental"] if case.chunks == "incremental" else [])))
