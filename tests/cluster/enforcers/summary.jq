# Makes the summary of one enforcer of what `netproof run` and `netproof fuzz` printed. `run` calls it.

def difference: select(.verdict as $verdict | ["leak", "blocked", "flaky", "inconclusive"] | index($verdict));

def differences: [
  .scenarios[] | .name as $scenario | .steps[] | .name as $step | .cells[] | difference
  | {scenario: $scenario, step: $step, from, to, family, probe, verdict, expected, observed, cause} | del(..|nulls)
];

def library: {
  outcome, tookMs, counts, proof, latency: (.latency | {enforce, admit}), skipped,
  facts: (.facts | {server, nodes, "network plugin"}), warnings,
  unmodelled: [.unmodelled[].kind],
  failures: [.scenarios[] | select(.failure) | {scenario: .name, failure}],
  differences: differences
};

def random: {
  exitCode, seed, cases, disagreeing, cells, undefined, undefinedByProfile, skipped, flaky, inconclusive, tookMs,
  failures, found: [.found[] | {seed, case, differs, from, to, family, probe, engine, naive, observed, cells, minimal}]
};

{
  enforcer: $title, version: $version, dataPath: $data_path, date: $date, kernel: $kernel,
  families: (if $dual == "1" then ["IPv4", "IPv6"] else ["IPv4"] end),
  lacks: $ARGS.positional,
  netproof: $run[0].version,
  library: ($run[0] | library),
  random: (if $fuzz == [] then null else ($fuzz[0] | random) end)
}
