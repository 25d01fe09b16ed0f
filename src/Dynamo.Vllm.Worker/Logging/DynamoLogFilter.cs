using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Worker.Logging;

/// <summary>Which lines are written: <c>DYN_LOG</c>, a comma list of <c>level</c> or <c>target=level</c> (behaviour.md, 11).</summary>
/// <remarks>Targets match by prefix, the longest one wins; Rust and C# spellings are taken alike. Unknown words count as info.</remarks>
internal sealed class DynamoLogFilter
{
    private static readonly string[] Frameworks = ["microsoft.", "grpc."];

    private readonly LogLevel _default = LogLevel.Information;
    private readonly List<(string Target, LogLevel Level)> _targets = [];

    public DynamoLogFilter(string? filter)
    {
        foreach (var word in (filter ?? "").Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries))
        {
            var equals = word.IndexOf('=', StringComparison.Ordinal);
            if (equals < 0)
            {
                _default = Level(word);
            }
            else
            {
                _targets.Add((Normalize(word[..equals]), Level(word[(equals + 1)..])));
            }
        }

        _targets.Sort((left, right) => right.Target.Length.CompareTo(left.Target.Length));
    }

    public LogLevel LevelOf(string category)
    {
        var name = Normalize(category);
        if (name == "microsoft.extensions.hosting.internal.host")
        {
            return LogLevel.None; // repeats, with a stack trace, what the worker says in one line
        }

        foreach (var (target, level) in _targets)
        {
            if (name.StartsWith(target, StringComparison.Ordinal))
            {
                return level;
            }
        }

        if (name.StartsWith("microsoft.extensions.diagnostics.healthchecks.", StringComparison.Ordinal))
        {
            return LogLevel.None; // an error each second, for as long as gRPC's health is not yet or no longer SERVING
        }

        // Frameworks talk about each request at information; that is debug to an operator of this worker.
        return Frameworks.Any(framework => name.StartsWith(framework, StringComparison.Ordinal)) && _default == LogLevel.Information
            ? LogLevel.Warning
            : _default;
    }

    private static string Normalize(string target) => target.Replace("::", ".", StringComparison.Ordinal).ToLowerInvariant();

    private static LogLevel Level(string word) =>
        word.ToLowerInvariant() switch
        {
            "trace" => LogLevel.Trace,
            "debug" => LogLevel.Debug,
            "warn" or "warning" => LogLevel.Warning,
            "error" => LogLevel.Error,
            "off" or "none" => LogLevel.None,
            _ => LogLevel.Information,
        };
}
