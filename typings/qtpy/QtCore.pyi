from typing import Any

from PyQt5.QtCore import *
from PyQt5.QtCore import pyqtSignal

Signal = pyqtSignal

def __getattr__(name: str) -> Any: ...
