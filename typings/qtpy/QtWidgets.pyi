from typing import Any

from PyQt5.QtWidgets import *

def __getattr__(name: str) -> Any: ...
