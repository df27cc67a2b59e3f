# SPDX-License-Identifier: GPL-3.0-or-later
"""History: every value that a daemon measures, for ever, with its time; queries, export, forwarding."""
