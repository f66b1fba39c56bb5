"""How good samples are: functions of plain arrays, whoever made them; each metric in its file."""
