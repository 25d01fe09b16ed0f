namespace Dynamo.Vllm.PeerTests;

/// <summary>Control calls with bodies of every type, in an order that leaves
/// the engine awake; and requests to the status server's other paths.</summary>
internal static class ControlCatalogue
{
    public static IReadOnlyList<(string Method, string Path)> Probes { get; } =
    [
        ("GET", "/health"),
        ("GET", "/live"),
        ("GET", "/metrics"),
        ("POST", "/health"),
        ("PUT", "/live"),
        ("DELETE", "/metrics"),
        ("OPTIONS", "/health"),
        ("POST", "/metadata"),
        ("GET", "/metadata"),
        ("GET", "/engine/"),
        ("GET", "/engine"),
        ("POST", "/engine/nope"),
        ("GET", "/nope"),
        ("POST", "/nope"),
        ("GET", "/v1/metadata/a"),
        ("POST", "/v1/metadata/a"),
        ("GET", "/v1/metadata/a/b/c/d/e/f"),
        ("POST", "/v1/metadata/a/b/c/d/e/f"),
        ("GET", "/v1/loras"),
    ];

    public static IReadOnlyList<(string Path, string Body)> Calls { get; } =
    [.. NoObjects(), .. Pauses(), .. Versions(), .. Taints(), .. Sleeps()];

    private static IEnumerable<(string, string)> NoObjects()
    {
        string[] calls =
        [
            "control/start_profile",
            "control/stop_profile",
            "control/sleep",
            "control/wake_up",
            "pause_generation",
            "resume_generation",
            "flush_cache",
            "set_weight_version",
            "get_weight_version",
            "liveness_probe",
            "update/model_taints",
            "update_weights_from_tensor",
        ];
        return calls.SelectMany(call => (string[])["[1]", "5", "null", "\"x\"", "{}"], (call, body) => (call, body));
    }

    private static IEnumerable<(string, string)> Pauses()
    {
        foreach (var mode in (string[])["3", "null", "\"x\"", "[\"keep\"]", "true", "{\"a\":1}", "1.5"])
        {
            yield return ("pause_generation", $"{{\"mode\":{mode}}}");
        }

        foreach (var clear in (string[])["3", "null", "\"x\"", "\"\"", "[]", "{}", "0"])
        {
            yield return ("pause_generation", $"{{\"mode\":\"keep\",\"clear_cache\":{clear}}}");
            yield return ("resume_generation", "{}");
        }
    }

    private static IEnumerable<(string, string)> Versions()
    {
        yield return ("set_weight_version", "{\"weight_version\":\"first\",\"weight_version\":\"last\"}");
        yield return ("get_weight_version", "{}");
        foreach (var version in (string[])["3", "1.0", "1.5", "null", "true", "\"x\"", "[1]", "{\"a\":1}", "\"\\u00e9\""])
        {
            yield return ("set_weight_version", $"{{\"weight_version\":{version}}}");
            yield return ("get_weight_version", "{}");
        }
    }

    private static IEnumerable<(string, string)> Taints() =>
        ((string[])["5", "\"a\"", "[1]", "[\"b\",\"a\",\"b\"]", "[\"dynamo.topology/x\"]", "null", "[]"]).Select(taints =>
            ("update/model_taints", $"{{\"taints\":{taints}}}")
        );

    private static IEnumerable<(string, string)> Sleeps()
    {
        foreach (var level in (string[])["\"deep\"", "1.5", "null", "true", "[1]", "1"])
        {
            yield return ("control/sleep", $"{{\"level\":{level}}}");
            yield return ("control/wake_up", "{}");
        }

        foreach (var tags in (string[])["\"a\"", "5", "{}"])
        {
            yield return ("control/wake_up", $"{{\"tags\":{tags}}}");
        }
    }
}
