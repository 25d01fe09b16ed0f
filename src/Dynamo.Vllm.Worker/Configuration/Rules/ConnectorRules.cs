using System.Text.Json.Nodes;
using Dynamo.Vllm.Worker.Configuration.Dump;
using Dynamo.Vllm.Worker.Configuration.Options;
using Dynamo.Vllm.Worker.Configuration.Parsing;

namespace Dynamo.Vllm.Worker.Configuration.Rules;

/// <summary>Step 4: names, and the KV connectors that a user may still try to pick by a short word.</summary>
internal sealed class ConnectorRules(HostFacts facts) : ConfigurationRules(facts)
{
    private const string BlockManagerModule = "kvbm.vllm_integration.connector";

    public void ResolveNames(ConfigurationDraft draft)
    {
        draft.ServedModelNames = [.. draft.Engine.ServedModelName.SelectMany(SplitNames)];
        draft.Component = draft.Mode switch
        {
            DisaggregationMode.Encode => "encode",
            DisaggregationMode.Prefill => "prefill",
            _ => "backend",
        };
        if (draft.Options.Get(RuntimeOptions.Endpoint) is not { } endpoint)
        {
            return;
        }

        // The suffix of DYN_NAMESPACE_WORKER_SUFFIX is lost here, as in the reference: an endpoint names all three parts.
        const string scheme = "dyn://";
        var at = endpoint.IndexOf(scheme, StringComparison.Ordinal);
        var parts = (at < 0 ? endpoint : endpoint.Remove(at, scheme.Length)).Split('.');
        Refuse(
            parts.Length != 3,
            $"Invalid endpoint format: '{endpoint}'. Expected 'dyn://namespace.component.endpoint' or 'namespace.component.endpoint'."
        );
        (draft.Namespace, draft.Component, draft.Endpoint) = (parts[0], parts[1], parts[2]);
    }

    /// <summary>Names in one word of <c>--served-model-name</c>, which may itself hold several.</summary>
    private static IEnumerable<string> SplitNames(string word) => PythonText.Words(word.Replace(',', ' '));

    public void RejectConnector(ConfigurationDraft draft)
    {
        var words = draft.Options.Get(RuntimeOptions.Connector).Select(word => word.ToLowerInvariant()).ToList();
        var variable = Variable("DYN_CONNECTOR");
        if (words.Count == 0 && variable is null)
        {
            return;
        }

        const string useInstead = "Use --kv-transfer-config instead.";
        const string flagGone = "--connector is no longer supported for the vLLM backend. ";
        const string variableGone = "The DYN_CONNECTOR environment variable is no longer supported for the vLLM backend. " + useInstead;
        Refuse(
            words.Count > 0 && words.All(IsNoConnector),
            flagGone
                + "'--connector none' is no longer needed \u2014 the default is already no connector. Simply remove the --connector flag."
        );
        Refuse(words.Count > 0, $"{flagGone}{useInstead}\n  Equivalent: --kv-transfer-config '{EquivalentTransfer(words, draft.Mode)}'");

        // Only here when "--connector" without words hid what the variable says.
        var fromVariable = PythonText.Words(variable!.ToLowerInvariant());
        var active = fromVariable.Length > 0 && !fromVariable.All(IsNoConnector);
        throw new ConfigurationException(
            active ? $"{variableGone}\n  Equivalent: --kv-transfer-config '{EquivalentTransfer(fromVariable, draft.Mode)}'" : variableGone
        );

        static bool IsNoConnector(string word) => word is "none" or "null";
    }

    /// <summary>The engine option that does what the connector words used to do; unknown words fall away.</summary>
    private static string EquivalentTransfer(IReadOnlyList<string> words, DisaggregationMode mode)
    {
        var nixlRole = mode switch
        {
            DisaggregationMode.Prefill => "kv_producer",
            DisaggregationMode.Decode => "kv_consumer",
            _ => "kv_both",
        };
        var connectors = words
            .Select(word =>
                word switch
                {
                    "lmcache" => Connector("LMCacheConnectorV1", "kv_both"),
                    "flexkv" => Connector("FlexKVConnectorV1", "kv_both"),
                    "nixl" => Connector("NixlConnector", nixlRole),
                    "kvbm" => new JsonObject
                    {
                        ["kv_connector"] = "DynamoConnector",
                        ["kv_connector_module_path"] = BlockManagerModule,
                        ["kv_role"] = "kv_both",
                    },
                    _ => null,
                }
            )
            .OfType<JsonObject>()
            .ToArray();
        return PythonJson.Spaced(
            connectors is [var single]
                ? single
                : new JsonObject
                {
                    ["kv_connector"] = "PdConnector",
                    ["kv_role"] = "kv_both",
                    ["kv_connector_extra_config"] = new JsonObject { ["connectors"] = new JsonArray(connectors) },
                    ["kv_connector_module_path"] = BlockManagerModule,
                }
        );

        static JsonObject Connector(string name, string role) => new() { ["kv_connector"] = name, ["kv_role"] = role };
    }

    public void CheckPrefillHasTransfer(ConfigurationDraft draft) =>
        Refuse(
            draft.Mode == DisaggregationMode.Prefill && draft.Engine.KvTransferConfig is null,
            "--connector is deprecated and the default is no longer nixl. When using --disaggregation-mode prefill, you must explicitly "
                + "provide --kv-transfer-config. Example:\n"
                + "  --kv-transfer-config '{\"kv_connector\":\"NixlConnector\",\"kv_role\":\"kv_producer\"}'"
        );

    /// <summary>The transfer is the named connector, or a P/D pair that contains it. A MultiConnector is not looked into.</summary>
    private static bool UsesConnector(JsonObject? transfer, string name)
    {
        var connector = (string?)transfer?["kv_connector"];
        return connector == name
            || (
                connector == "PdConnector"
                && transfer!["kv_connector_extra_config"]?["connectors"] is JsonArray children
                && children
                    .OfType<JsonObject>()
                    .Any(child =>
                        child["kv_connector"] is JsonValue value && value.TryGetValue<string>(out var childName) && childName == name
                    )
            );
    }

    public void ResolveSideChannel(ConfigurationDraft draft)
    {
        const string variable = "VLLM_NIXL_SIDE_CHANNEL_HOST";
        draft.UsesNixl = UsesConnector(draft.Engine.KvTransferConfig, "NixlConnector");
        if (!draft.UsesNixl || !string.IsNullOrEmpty(Variable(variable)))
        {
            return;
        }

        draft.Environment[variable] =
            Facts.Nixl.FindRoutableAddress()
            ?? throw new ConfigurationException(
                "Unable to determine a routable host IP for NIXL side-channel. Hostname resolution and outbound interface detection both "
                    + "failed or returned a non-routable address (loopback, link-local, etc.). Please set the "
                    + $"{variable} environment variable to the IP address that peer nodes can reach this host on."
            );
        draft.Notes.Add($"Set {variable} to {draft.Environment[variable]} (auto-detected)");
    }
}
