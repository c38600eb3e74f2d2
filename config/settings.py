"""All settings, read from the environment. `.env.example` documents each variable."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from config import env
from config.core.logs import logging_config

BASE_DIR = Path(__file__).resolve().parent.parent
VERSION = "0.1.0"

# Core
DEBUG = env.flag("DEBUG", default=False)
SECRET_KEY = env.text("SECRET_KEY")
if DEBUG and not SECRET_KEY:
    SECRET_KEY = "django-insecure-for-development-only-never-in-production"  # noqa: S105
if not DEBUG and (len(SECRET_KEY) < 50 or len(set(SECRET_KEY)) < 5 or SECRET_KEY.startswith("django-insecure-")):
    raise ImproperlyConfigured("SECRET_KEY: needs at least 50 random characters (the rule of Django's check W009)")
ALLOWED_HOSTS = env.names("ALLOWED_HOSTS", "*" if DEBUG else "localhost,127.0.0.1,[::1]")
CSRF_TRUSTED_ORIGINS = env.origins("CSRF_TRUSTED_ORIGINS")
CORS_ALLOWED_ORIGINS = env.origins("CORS_ALLOWED_ORIGINS")
CORS_EXPOSE_HEADERS = ["X-Request-ID", "Location", "Retry-After", "Idempotency-Replayed", "Content-Disposition"]
CORS_ALLOW_HEADERS = [
    *("accept", "authorization", "content-type", "x-request-id"),
    *("idempotency-key", "prefer", "last-event-id"),
]
ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"
LANGUAGE_CODE = "en-us"
FORMAT_MODULE_PATH = "config.formats"
TIME_ZONE = "UTC"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
APPEND_SLASH = False
# What the Makefile hands to the server; read here so that a wrong one stops the start by its name.
PORT = env.integer("PORT", default=8000, least=1, most=65_535)
WEB_WORKERS = env.integer("WEB_WORKERS", default=1, least=1, most=1_000)
WORKER_THREADS = env.integer("WORKER_THREADS", default=8, least=1, most=1_000)
# A JSON body is held to 1 MB by config.core.body_limit; this is Django's own limit for forms (the admin).
DATA_UPLOAD_MAX_MEMORY_SIZE = 1_048_576
JSON_BODY_MAX_BYTES = 1_000_000

INSTALLED_APPS = [
    "config.core",
    "users",
    "pricing",
    "billing",
    "files",
    "sessions_app",
    "config.embedded",
    "users.admin_app.StaffAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "corsheaders",
    "rest_framework",
    "knox",
    "pgtrigger",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "drf_standardized_errors",
]

MIDDLEWARE = [
    "config.core.middleware.RequestContextMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "config.core.middleware.LoopbackCookieMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
# What the API goes through instead, under ASGI: nothing that would hold a thread while a turn is waited for.
API_MIDDLEWARE = [
    "config.core.middleware.RequestContextMiddleware",
    "config.core.middleware.ApiSecurityMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "config.core.middleware.ApiFrameMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

# Database
_database = env.database("DATABASE_POOL_URL") or env.database("DATABASE_URL")
if _database is None:
    if not DEBUG:
        raise ImproperlyConfigured("DATABASE_URL: not set")
    _database = {"ENGINE": "django.db.backends.postgresql", "NAME": "tallyroom"}
# 0: no pool, a connection a unit of work. The web process sets it, because under ASGI each request has its own thread.
DATABASE_POOL_SIZE = env.integer("DATABASE_POOL_SIZE", default=0, most=1000)
DATABASE_THREADS = env.integer("DATABASE_THREADS", default=8, least=1, most=1000)
_options: dict[str, Any] = {**_database.get("OPTIONS", {}), "prepare_threshold": None}
if DATABASE_POOL_SIZE:
    # Quick to say that the database is away, and quick to notice that it is back: by default the pool would wait half a
    # minute longer each time it fails to reconnect.
    _options["pool"] = {"min_size": 1, "max_size": DATABASE_POOL_SIZE, "timeout": 4, "reconnect_timeout": 2}
DATABASES = {
    "default": {
        **_database,
        "ENGINE": "config.core.postgresql",
        "OPTIONS": _options,
        "CONN_MAX_AGE": 0,
        # A pooler in transaction mode keeps no session: no prepared statements (above), no server-side cursors.
        "DISABLE_SERVER_SIDE_CURSORS": True,
    }
}
# Within a transaction of ours: the longest wait for a lock, and the longest silence before PostgreSQL ends it. A
# process that was paused in the middle of a transaction must not keep its locks from everybody else.
DATABASE_LOCK_TIMEOUT_MS = 3_000
DATABASE_IDLE_IN_TRANSACTION_MS = 10_000

# Redis and Celery
REDIS_URL = env.redis_url("REDIS_URL", "redis://127.0.0.1:6379/0")
CELERY_BROKER_URL = env.redis_url("CELERY_BROKER_URL", REDIS_URL)

# Security
SECURE_SSL_REDIRECT = env.flag("SECURE_SSL_REDIRECT", default=False)
_proxy_header = env.names("SECURE_PROXY_SSL_HEADER")
if _proxy_header and len(_proxy_header) != 2:
    raise ImproperlyConfigured("SECURE_PROXY_SSL_HEADER: expected NAME,VALUE, e.g. HTTP_X_FORWARDED_PROTO,https")
SECURE_PROXY_SSL_HEADER = (_proxy_header[0], _proxy_header[1]) if _proxy_header else None
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not DEBUG
SECURE_HSTS_SECONDS = 0 if DEBUG else 31_536_000
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = not DEBUG
# W008: TLS ends at the proxy in front of us, which is also where plain HTTP is redirected.
SILENCED_SYSTEM_CHECKS = ["security.W008"]

# Users
AUTH_USER_MODEL = "users.User"
AUTHENTICATION_BACKENDS = ["users.backends.StaffBackend"]
LOGIN_REDIRECT_URL = "/admin/"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]
AUTH_ALLOW_SIGNUP = env.flag("AUTH_ALLOW_SIGNUP", default=False)
# RFC 7518, section 3.2: a key for HS256 has at least the size of its hash.
AUTH_JWT_SECRET = env.secret("AUTH_JWT_SECRET", least_bytes=32)
AUTH_JWKS_URL = env.guarded_url("AUTH_JWKS_URL", takes_plain_http=DEBUG)
AUTH_JWT_AUDIENCE = env.text("AUTH_JWT_AUDIENCE")
AUTH_JWT_ISSUER = env.text("AUTH_JWT_ISSUER")
ADMIN_USER_IDS = frozenset(env.names("ADMIN_USER_IDS"))

# Money
CREDIT_ENFORCEMENT = env.choice("CREDIT_ENFORCEMENT", default="warn", allowed=("off", "warn", "hard"))
LOW_BALANCE_THRESHOLD = env.credits("LOW_BALANCE_THRESHOLD", default="5.0")
BETA_GRANT_CREDITS = env.credits("BETA_GRANT_CREDITS", default="0")
# None: nobody has said what a credit is worth, so no day can be below its cost.
CREDIT_USD_VALUE = env.usd("CREDIT_USD_VALUE")
COST_DRIFT_PERCENT = env.integer("COST_DRIFT_PERCENT", default=50, least=1, most=1_000_000)
ALERT_EXPIRING_DAYS = env.integer("ALERT_EXPIRING_DAYS", default=7, least=1, most=365)
# For development and tests. Users choose the URLs of webhooks, and could have this process call into its own network.
WEBHOOK_ALLOW_PRIVATE = env.flag("WEBHOOK_ALLOW_PRIVATE", default=False)
HOLD_TTL_S = env.integer("HOLD_TTL_S", default=120, least=1)
PRICING_REFRESH_S = env.seconds("PRICING_REFRESH_S", default=5)

# Mail. Without EMAIL_URL none is sent.
_email = env.email("EMAIL_URL")
EMAIL_IS_CONFIGURED = bool(_email)
EMAIL_BACKEND = _email.get("EMAIL_BACKEND") or "django.core.mail.backends.dummy.EmailBackend"
EMAIL_HOST = _email.get("EMAIL_HOST") or "localhost"
EMAIL_PORT = _email.get("EMAIL_PORT") or 25
EMAIL_HOST_USER = _email.get("EMAIL_HOST_USER") or ""
EMAIL_HOST_PASSWORD = _email.get("EMAIL_HOST_PASSWORD") or ""
EMAIL_USE_TLS = bool(_email.get("EMAIL_USE_TLS"))
EMAIL_USE_SSL = bool(_email.get("EMAIL_USE_SSL"))
# For each step of the conversation with the mail server.
EMAIL_TIMEOUT = 5
DEFAULT_FROM_EMAIL = env.text("DEFAULT_FROM_EMAIL", "tallyroom@localhost")
if EMAIL_IS_CONFIGURED and "@" not in env.text("DEFAULT_FROM_EMAIL"):
    raise ImproperlyConfigured("DEFAULT_FROM_EMAIL: needs the address that mails come from, as EMAIL_URL is set")

# Turns
TURN_LEASE_S = env.integer("TURN_LEASE_S", default=30, least=1)
if HOLD_TTL_S <= TURN_LEASE_S:
    raise ImproperlyConfigured("HOLD_TTL_S: must be longer than TURN_LEASE_S, with which holds are renewed")
SWEEP_INTERVAL_S = env.integer("SWEEP_INTERVAL_S", default=15, least=1)
TURN_TIMEOUT_S = env.integer("TURN_TIMEOUT_S", default=300, least=1)
EVENTS_TTL_S = env.integer("EVENTS_TTL_S", default=86_400, least=1)
SESSION_TITLES = env.choice("SESSION_TITLES", default="text", allowed=("off", "text", "model"))
DRAIN_TIMEOUT_S = env.integer("DRAIN_TIMEOUT_S", default=30, least=0)

# Rate limits; 0 switches one off. A login counts where it fails, for its e-mail at its address and for the address.
RATE_LIMIT_TURNS_PER_MINUTE = env.integer("RATE_LIMIT_TURNS_PER_MINUTE", default=10, most=100_000)
RATE_LIMIT_TURNS_PER_HOUR = env.integer("RATE_LIMIT_TURNS_PER_HOUR", default=60, most=100_000)
RATE_LIMIT_COMPLETIONS_PER_MINUTE = env.integer("RATE_LIMIT_COMPLETIONS_PER_MINUTE", default=600, most=100_000)
RATE_LIMIT_LOGIN_FAILURES = env.integer("RATE_LIMIT_LOGIN_FAILURES", default=10, most=100_000)
RATE_LIMIT_LOGIN_FAILURES_PER_ADDRESS = env.integer("RATE_LIMIT_LOGIN_FAILURES_PER_ADDRESS", default=100, most=100_000)
RATE_LIMIT_LOGIN_WINDOW_S = env.integer("RATE_LIMIT_LOGIN_WINDOW_S", default=900, least=1, most=86_400)

# LLM
LLM_BASE_URL = env.http_url("LLM_BASE_URL")
LLM_API_KEY = env.text("LLM_API_KEY")
LLM_PROVIDERS = env.json_object("LLM_PROVIDERS")
LLM_CONNECT_TIMEOUT_S = env.seconds("LLM_CONNECT_TIMEOUT_S", default=5)
LLM_READ_TIMEOUT_S = env.seconds("LLM_READ_TIMEOUT_S", default=60)
LLM_TOTAL_TIMEOUT_S = env.seconds("LLM_TOTAL_TIMEOUT_S", default=240)
LLM_MAX_RETRIES = env.integer("LLM_MAX_RETRIES", default=2, most=10)
# Unset: the alias of the room's first agent.
ORCHESTRATOR_MODEL_ALIAS = env.text("ORCHESTRATOR_MODEL_ALIAS")
SUMMARY_MODEL_ALIAS = env.text("SUMMARY_MODEL_ALIAS")
LLM_MAX_OUTPUT_TOKENS = env.integer("LLM_MAX_OUTPUT_TOKENS", default=4096, least=1, most=1_000_000)

# Tools. Without a key there is no web search.
TAVILY_API_KEY = env.text("TAVILY_API_KEY").strip()
TAVILY_BASE_URL = env.http_url("TAVILY_BASE_URL") or "https://api.tavily.com"

# Files
FILE_MAX_BYTES = env.integer("FILE_MAX_BYTES", default=20_000_000, least=1)
FILE_TEXT_MAX_CHARS = env.integer("FILE_TEXT_MAX_CHARS", default=2_000_000, least=1, most=50_000_000)
FILE_PARSE_TIMEOUT_S = env.integer("FILE_PARSE_TIMEOUT_S", default=60, least=1, most=3_600)
# Of address space; an interpreter with its libraries has some 200 MB of it.
FILE_PARSE_MEMORY_BYTES = env.integer("FILE_PARSE_MEMORY_BYTES", default=1_073_741_824, least=268_435_456)
# Of a worker, at once; its other threads stay free for turns.
FILE_PARSE_PROCESSES = env.integer("FILE_PARSE_PROCESSES", default=2, least=1, most=1_000)
STORAGE_BACKEND = env.choice("STORAGE_BACKEND", default="local", allowed=("local", "s3"))
STORAGE_ROOT = env.writable_folder("STORAGE_ROOT")
STORAGE_ROOT_IS_CHOSEN = bool(STORAGE_ROOT)
if not STORAGE_ROOT:
    # One for each database, because the nightly job removes what no row names; its host may have several names.
    _of_database = hashlib.sha256(f"{_database.get('PORT')}/{_database['NAME']}".encode()).hexdigest()[:12]
    STORAGE_ROOT = str(BASE_DIR / ".data" / "uploads" / _of_database)

# Static files
STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / ".data" / "static"
WHITENOISE_USE_FINDERS = DEBUG
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "files": {"BACKEND": "files.backends.S3Storage", "OPTIONS": env.s3()}
    if STORAGE_BACKEND == "s3"
    else {
        "BACKEND": "files.backends.FolderStorage",
        "OPTIONS": {"location": STORAGE_ROOT, "makes_root": not STORAGE_ROOT_IS_CHOSEN},
    },
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}

# REST
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["users.authentication.BearerAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["config.core.parsers.JSONParser"],
    "DEFAULT_PAGINATION_CLASS": "config.core.paging.KeysetPagination",
    "DEFAULT_SCHEMA_CLASS": "config.core.openapi.ProblemAutoSchema",
    "EXCEPTION_HANDLER": "config.core.problems.exception_handler",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
DRF_STANDARDIZED_ERRORS = {
    "EXCEPTION_FORMATTER_CLASS": "config.core.problems.ProblemFormatter",
    "ENABLE_IN_DEBUG_FOR_UNHANDLED_EXCEPTIONS": True,
}
REST_KNOX = {"AUTH_HEADER_PREFIX": "Bearer", "TOKEN_LIMIT_PER_USER": None}
SPECTACULAR_SETTINGS = {
    "TITLE": "Tallyroom",
    "DESCRIPTION": "Multi-agent LLM chat with metered turns and a prepaid credit wallet.",
    "VERSION": VERSION,
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_NAME_OVERRIDES": {
        "EnforcementEnum": "billing.models.Enforcement",
        "PriceVersionStatusEnum": "pricing.models.PricingVersion.Status",
        "LimitSubjectEnum": "billing.models.SpendingLimit.Subject",
        "OwnerLimitSubjectEnum": "billing.limits.serializers.OWNER_SUBJECTS",
        "RoomModeEnum": "sessions_app.room_serializers.ROOM_MODES",
        "ToolTypeEnum": "sessions_app.completions.functions.TYPES",
        "TurnModeEnum": "sessions_app.models.Room.Mode",
    },
}

# Metrics. The folder is one for each database, so that web processes and worker of one deployment on one machine meet
# there, and two deployments in one checkout do not.
METRICS_TOKEN = env.secret("METRICS_TOKEN", least_bytes=16)
WORKER_METRICS_PORT = env.integer("WORKER_METRICS_PORT", default=0, most=65_535)
METRICS_DIR = env.writable_folder("PROMETHEUS_MULTIPROC_DIR")
METRICS_DIR_IS_CHOSEN = bool(METRICS_DIR)
if not METRICS_DIR:
    _deployment = f"{_database.get('HOST')}:{_database.get('PORT')}/{_database['NAME']}"
    METRICS_DIR = str(BASE_DIR / ".data" / "metrics" / hashlib.sha256(_deployment.encode()).hexdigest()[:12])

# Traces: the OpenTelemetry SDK reads the environment itself; here a wrong value stops the start.
for _name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
    env.http_url(_name)
if env.text("OTEL_SDK_DISABLED").lower() not in {"", "true", "false"}:
    raise ImproperlyConfigured("OTEL_SDK_DISABLED: expected true or false, as OpenTelemetry has it")

# Logs
LOG_LEVEL = env.choice("LOG_LEVEL", default="INFO", allowed=("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"))
LOG_FORMAT = env.choice("LOG_FORMAT", default="console" if DEBUG else "json", allowed=("json", "console"))
LOGGING_CONFIG = None
logging_config(level=LOG_LEVEL, form=LOG_FORMAT)
