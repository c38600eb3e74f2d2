import pytest

# So that what it asserts is told in full.
pytest.register_assert_rewrite("sessions_app.tests.browser.desk")
