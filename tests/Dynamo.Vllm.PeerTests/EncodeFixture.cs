using System.Net;
using System.Net.Http.Json;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.PeerTests;

/// <summary>Two mixed pairs behind an official frontend: its encode worker with a worker of ours, and the other way round.</summary>
/// <remarks>An official encode worker takes the model's usual numbers, whatever <c>--dtype</c> says, so ours is not told.</remarks>
public sealed class EncodeFixture : IAsyncLifetime
{
    /// <summary>Ours, which asks the official encode worker.</summary>
    public const string OurName = "ours";

    /// <summary>The official worker, which asks our encode worker.</summary>
    public const string OfficialName = "official";

    private static readonly TimeSpan StartLimit = TimeSpan.FromMinutes(5);

    private readonly List<IAsyncDisposable> _owned = [];
    private TemporaryFolder? _store;

    public Frontend Frontend { get; private set; } = null!;

    public WorkerProcess Encoder { get; private set; } = null!;

    public ChildProcess OfficialEncoder { get; private set; } = null!;

    public async Task InitializeAsync()
    {
        if (Peers.Folder is null && Environment.GetEnvironmentVariable("CI") != "true")
        {
            return; // every test of the class is skipped
        }

        _store = new TemporaryFolder();
        var model = Path.Combine(_store.Path, "sees");
        await VisionModel.MakeAsync(model);
        var everywhere = Variables(OurName);
        everywhere.Remove("DYN_NAMESPACE"); // of one namespace it would serve that pair alone
        Frontend = Own(Frontend.Start(everywhere));
        OfficialEncoder = Own(StartOfficial(OurName, ["--disaggregation-mode", "encode"], model));
        Encoder = Own(StartOurs(OfficialName, ["--disaggregation-mode", "encode"], model));
        Own(StartOurs(OurName, ["--route-to-encoder", "--dtype", "float32"], model));
        var official = Own(StartOfficial(OfficialName, ["--route-to-encoder", "--enable-mm-embeds", "--dtype", "float32"], model));
        foreach (var name in (string[])[OurName, OfficialName])
        {
            await Frontend.WaitAsync(
                $"'{name}' is not served: {official.Tail}",
                StartLimit,
                async () =>
                    (await AskAsync(name, new JsonArray(new JsonObject { ["type"] = "text", ["text"] = "hello" }))).Status
                    == HttpStatusCode.OK
            );
        }
    }

    public async Task DisposeAsync()
    {
        for (var i = _owned.Count - 1; i >= 0; i--)
        {
            await _owned[i].DisposeAsync();
        }

        _store?.Dispose();
    }

    /// <summary>What a client gets.</summary>
    public async Task<(HttpStatusCode Status, JsonNode? Body)> AskAsync(string name, JsonArray content)
    {
        var body = new JsonObject
        {
            ["model"] = name,
            ["messages"] = new JsonArray(new JsonObject { ["role"] = "user", ["content"] = content.DeepClone() }),
            ["max_tokens"] = 8,
            ["temperature"] = 0,
            ["ignore_eos"] = true,
        };
        using var response = await Frontend.PostAsync("/v1/chat/completions", body);
        // A frontend that knows no model yet answers with an empty body.
        var text = await response.Content.ReadAsStringAsync();
        return (response.StatusCode, text.Length == 0 ? null : JsonNode.Parse(text));
    }

    private T Own<T>(T owned)
        where T : IAsyncDisposable
    {
        _owned.Add(owned);
        return owned;
    }

    /// <summary>Each pair has a namespace of its own, in which its members find each other.</summary>
    private Dictionary<string, string> Variables(string name) =>
        new(Peers.Variables(_store!.Path))
        {
            ["DYN_NAMESPACE"] = name,
            ["DYN_MM_ALLOW_INTERNAL"] = "1",
            ["UCX_TLS"] = "tcp,self,sm,cma",
        };

    private WorkerProcess StartOurs(string name, string[] flags, string model) =>
        WorkerProcess.Start(_store!.Path, ["--python", Peers.Python, .. Flags(name, flags, model)], Variables(name));

    private ChildProcess StartOfficial(string name, string[] flags, string model) =>
        new("official", Peers.Python, ["-m", "dynamo.vllm", .. Flags(name, flags, model)], Variables(name));

    private static string[] Flags(string name, string[] flags, string model) =>
        [
            "--model",
            model,
            "--served-model-name",
            name,
            "--enable-multimodal",
            "--max-model-len",
            "1024",
            "--enforce-eager",
            "--block-size",
            "32",
            "--num-gpu-blocks-override",
            "256",
            .. flags,
        ];
}
