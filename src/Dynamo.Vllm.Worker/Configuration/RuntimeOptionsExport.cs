using System.Globalization;
using Dynamo.Vllm.Worker.Configuration.Options;

namespace Dynamo.Vllm.Worker.Configuration;

/// <summary>Options whose variables others read, too: vLLM's connectors, Python, their children.</summary>
/// <remarks>
/// As variables to set; null means remove. This worker takes the options themselves. Which ones are meant says
/// <see cref="OptionDefinition.Exported"/>.
/// </remarks>
public static class RuntimeOptionsExport
{
    public static IReadOnlyDictionary<string, string?> Changes(OptionValues options, IReadOnlyDictionary<string, string> environment)
    {
        var changes = new Dictionary<string, string?>(StringComparer.Ordinal);
        foreach (var option in RuntimeOptions.All.Where(option => option.Exported))
        {
            var variable = option.Environment!;
            var text = options.GetRaw(option) switch
            {
                // Removed when false: to some readers of these variables any text means true.
                bool flag => flag ? "1" : null,
                long number => number.ToString(CultureInfo.InvariantCulture),
                var value => (string?)value,
            };
            if (option.Kind == OptionKind.Boolean ? text is not null || environment.ContainsKey(variable) : !string.IsNullOrEmpty(text))
            {
                changes[variable] = text;
            }
        }

        return changes;
    }

    /// <summary>The environment with the changes in it.</summary>
    public static IReadOnlyDictionary<string, string> Apply(
        IReadOnlyDictionary<string, string> environment,
        IReadOnlyDictionary<string, string?> changes
    )
    {
        var applied = new Dictionary<string, string>(environment, StringComparer.Ordinal);
        foreach (var (variable, value) in changes)
        {
            if (value is null)
            {
                applied.Remove(variable);
            }
            else
            {
                applied[variable] = value;
            }
        }

        return applied;
    }
}
