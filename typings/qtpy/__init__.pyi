"""Qt for mypy: the types of PyQt5 where it is installed, no types (Any) where another Qt is."""

API_NAME: str
