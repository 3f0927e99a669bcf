"""Region proposals."""

from .rpn import RPN, StandardRPNHead
