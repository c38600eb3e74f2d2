"""The OpenAI-compatible door: one prompt, one answer, on the same wallet. It knows neither rooms nor turns.

`asked` what a client may ask, `opening` transaction 1, `running` the call, `rows` and `settling` transaction 2,
`recovery` what a process that died left behind, `rendering` the shapes that OpenAI's clients expect, `views` HTTP.
"""
