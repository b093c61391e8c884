# TAP in, a line for each test file out; of a file that fails also what failed in it, and what was printed meanwhile.
function show(line) { print line; fflush() }

/^# Subtest: / { held = 0; next }
/^ok [0-9]+ - / { sub(/^ok [0-9]+ - /, "  ok  "); sub(/ # time=/, "  "); show($0); held = 0; next }
/^not ok [0-9]+ - / {
  for (i = 0; i < held; i++) show(hold[i])
  held = 0
  sub(/^not ok [0-9]+ - /, "FAIL  "); sub(/ # time=/, "  "); show($0)
  details = 1
  next
}
# Of the details of a whole file only how its process ended tells something.
details && /^  (exitCode|signal|timeout|expired):/ { show($0); next }
details && /^  / { if ($0 ~ /^  \.\.\.$/) details = 0; next }
/^ +(ok [0-9]+|# Subtest:|# time=|1\.\.)/ || /^ *$/ || /^(TAP version|1\.\.|# )/ { next }
/^ / { hold[held++] = $0; next }
# What no test file owns: the standard error of all of them, and tap's own words.
{ show($0) }
END { for (i = 0; i < held; i++) show(hold[i]) }
