from typing import Any

from PyQt5.QtGui import *

def __getattr__(name: str) -> Any: ...
