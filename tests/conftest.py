"""Make this checkout's integrations the ones that Home Assistant finds in tests.

Its test tools bring a `custom_components` of their own; the first one imported stays.
"""

import custom_components  # noqa: F401
