"""Region Proposal Networks."""

from .rpn import RPN, StandardRPNHead
