using System.Text.RegularExpressions;

namespace Dynamo.Vllm.Worker.Configuration.Rules;

/// <summary>Expands variables and the home directory in a path, as a shell would, for paths that come from manifests.</summary>
internal static partial class PathExpansion
{
    /// <summary>Replaces <c>$NAME</c>, <c>${NAME}</c> and a leading <c>~</c>; a variable that is not set stays as written.</summary>
    public static string Expand(string path, IReadOnlyDictionary<string, string> environment)
    {
        var expanded = Variable()
            .Replace(
                path,
                match => environment.GetValueOrDefault(match.Groups[1].Success ? match.Groups[1].Value : match.Groups[2].Value, match.Value)
            );
        return expanded is "~" || expanded.StartsWith("~/", StringComparison.Ordinal)
            ? environment.GetValueOrDefault("HOME", "~") + expanded[1..]
            : expanded;
    }

    [GeneratedRegex(@"\$(?:(\w+)|\{([^}]*)\})")]
    private static partial Regex Variable();
}
