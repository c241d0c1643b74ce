# One line about an enforcer, of its summary.
(.library.counts | "\(.cells) cells, \(.match) as promised, \(.leak) leaks, \(.blocked) blocked, \(.flaky) flaky, "
  + "\(.inconclusive) inconclusive, \(.skipped) skipped") as $cells
| (.random | if . then "; \(.disagreeing) of \(.cases) random cases differ" else "" end) as $random
| "\($name): \(.library.outcome), \($cells)\($random)"
