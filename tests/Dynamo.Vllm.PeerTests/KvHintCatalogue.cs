namespace Dynamo.Vllm.PeerTests;

/// <summary>Requests with hints where blocks of the prompt can be fetched from, good and bad.</summary>
internal static class KvHintCatalogue
{
    private const string Action =
        """{"action_id":"a","action_type":"kv.fetch","action_version":"1.0","payload":{"source":[1,"x",null,{}]}}""";

    // What is no text becomes text.
    private const string Odd = """{"action_id":[1.5,true],"action_type":7,"action_version":null,"payload":{}}""";

    public static IReadOnlyList<string> Equal { get; } =
    [
        .. (
            (string[])
                [
                    "null",
                    "{\"protocol_version\":\"1.0\",\"message_id\":\"m\",\"actions\":[]}",
                    $"{{\"protocol_version\":\"1.0\",\"message_id\":\"m\",\"actions\":[{Action},{Action}]}}",
                    $"{{\"protocol_version\":1,\"message_id\":null,\"actions\":[{Odd}]}}",
                    "{}",
                    "5",
                    "\"x\"",
                    "[1]",
                    "{\"actions\":{}}",
                    "{\"actions\":[1]}",
                    "{\"actions\":[{}]}",
                    "{\"actions\":[{\"payload\":[1]}]}",
                ]
        ).Select(With),
        // Blocks that come from a prefill worker: whatever the hint is, nobody looks at it.
        With("5").Replace("{\"token_ids\"", Prefilled, StringComparison.Ordinal),
    ];

    /// <summary>Members that are missing: a fault there, and a mistake of the client's here.</summary>
    public static IReadOnlyList<(string Body, string Text)> FaultsThere { get; } =
    [
        (With("{\"actions\":[]}"), "kv_hint has no protocol_version"),
        (With("{\"protocol_version\":\"1\",\"actions\":[]}"), "kv_hint has no message_id"),
        (With("{\"actions\":[{\"payload\":{}}]}"), "kv_hint action has no action_id"),
    ];

    private const string Prefilled = "{\"prefill_result\":{\"disaggregated_params\":{\"kv_transfer_params\":{\"a\":1}}},\"token_ids\"";

    private static string With(string hint) =>
        $"{{\"token_ids\":[5,6,7,8],\"kv_hint\":{hint},\"sampling_options\":{{\"temperature\":0}},"
        + "\"stop_conditions\":{\"max_tokens\":4,\"ignore_eos\":true}}";
}
