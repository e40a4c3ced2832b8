"""How fast the simulator is: ``migsim bench``, and the cases that its tests share.

Everything is measured side by side in one run and told as ratios, so that figures of one machine
mean something on another. `rows` says what is told, `measure` how it is timed.
"""
