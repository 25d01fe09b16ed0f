namespace Dynamo.Vllm.Worker.Configuration.Rules;

/// <summary>Reads <c>--endpoint-types</c>.</summary>
/// <remarks>Only agg and decode workers do this: other roles ignore the option, so a wrong word there must not stop them.</remarks>
public static class EndpointTypeList
{
    /// <exception cref="ConfigurationException">An unknown word, an empty list, or <c>none</c> together with another word.</exception>
    public static EndpointTypes Parse(string text)
    {
        var words = text.ToLowerInvariant().Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries);
        if (words.Length == 0)
        {
            throw new ConfigurationException($"--endpoint-types '{text}': expected 'chat', 'completions' or 'none'");
        }

        if (words.Contains("none"))
        {
            return words.Length == 1
                ? EndpointTypes.None
                : throw new ConfigurationException("Endpoint type 'none' cannot be combined with other endpoint types");
        }

        return words.Aggregate(
            EndpointTypes.None,
            (types, word) =>
                types
                | word switch
                {
                    "chat" => EndpointTypes.Chat,
                    "completions" => EndpointTypes.Completions,
                    _ => throw new ConfigurationException(
                        $"Invalid endpoint type: '{word}'. Valid options are: 'chat', 'completions', 'none'"
                    ),
                }
        );
    }
}
