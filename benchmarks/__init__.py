# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures that the project promises. `make bench` prints them; compare ratios, these machines are noisy."""
