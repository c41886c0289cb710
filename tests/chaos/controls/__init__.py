"""Contenders that are broken on purpose, each in one way that is seen in the wild.

The checker has to condemn every one of them: a checker that lets one through proves nothing.
"""
