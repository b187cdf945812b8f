from .coder import Weights as Weights
from .layout import Layout as Layout
from .layout import Setting as Setting
from .section import read_section as read_section
