"""What imports of other people's results share: points, the settings that tell runs apart, notes, and the table.

Nothing here knows a file format; `lm_eval` and `inspect_logs` beside this package do.
"""
