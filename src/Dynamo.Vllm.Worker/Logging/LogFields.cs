using System.Text.Json;

namespace Dynamo.Vllm.Worker.Logging;

/// <summary>What was put into the sentence of a log line, by name.</summary>
internal static class LogFields
{
    /// <param name="state">Of the line.</param>
    /// <returns>Names as the reference spells them. A value may be null.</returns>
    public static IEnumerable<(string Name, object? Value)> Of(object? state)
    {
        foreach (var (name, value) in state as IReadOnlyList<KeyValuePair<string, object?>> ?? [])
        {
            if (name != "{OriginalFormat}")
            {
                yield return (JsonNamingPolicy.SnakeCaseLower.ConvertName(name), value);
            }
        }
    }
}
