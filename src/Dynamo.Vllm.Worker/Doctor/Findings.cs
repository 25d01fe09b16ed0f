using System.Collections.Immutable;

namespace Dynamo.Vllm.Worker.Doctor;

/// <summary>What a check has found so far. Thread-safe: a check that is late is not waited for, and may still write.</summary>
internal sealed class Findings(string check)
{
    private ImmutableList<Finding> _all = [];

    /// <summary>As they are now.</summary>
    public IReadOnlyList<Finding> All => Volatile.Read(ref _all);

    public void Ok(string seen) => Add(Severity.Ok, seen, null);

    public void Warning(string seen, string advice) => Add(Severity.Warning, seen, advice);

    public void Problem(string seen, string advice) => Add(Severity.Problem, seen, advice);

    private void Add(Severity severity, string seen, string? advice)
    {
        var finding = new Finding(check, severity, seen.ReplaceLineEndings(" "), advice);
        ImmutableInterlocked.Update(ref _all, static (all, added) => all.Add(added), finding);
    }
}
