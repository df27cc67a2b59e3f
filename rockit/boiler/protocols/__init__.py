# SPDX-License-Identifier: GPL-3.0-or-later
"""Codecs of what stands around a boiler: bytes or text in, meaning out."""
