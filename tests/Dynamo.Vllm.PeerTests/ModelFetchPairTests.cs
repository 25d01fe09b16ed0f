using System.Globalization;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Protocol.ModelCards;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.PeerTests;

/// <summary>One of our workers and one official worker, given the name of a model on a hub, behind one official frontend.</summary>
[Trait("Category", "Peers")]
public sealed class ModelFetchPairTests : IDisposable
{
    private static readonly TimeSpan StartLimit = TimeSpan.FromMinutes(5);

    private readonly TemporaryFolder _store = new();
    private readonly TemporaryFolder _cache = new();

    [PeerFact]
    public async Task A_name_on_the_hub_is_fetched_registered_and_answered_as_by_the_official_worker_and_later_from_the_cache()
    {
        await using var hub = await ModelHub.StartAsync(Peers.TinyModel);
        var variables = hub.Variables(_store.Path, _cache.Path);
        await using var frontend = Frontend.Start(variables, "--router-mode", "round-robin");
        await using (var ours = Start(variables))
        {
            await ours.ReadyAsync(StartLimit);
            Assert.Equal(1, hub.CountOf("model.safetensors")); // fetched by us, found by vLLM
            await using var official = StartOfficial(variables);
            await Polling.UntilAsync(
                "the official worker has not registered",
                StartLimit,
                () => Task.FromResult(Cards().Count == 2),
                () => official.Tail
            );
            Assert.Equal(1, hub.CountOf("model.safetensors")); // the official one has found it, too

            var instance = ulong.Parse(ours.Instance, NumberStyles.HexNumber, CultureInfo.InvariantCulture);
            var cards = Cards();
            var officialInstance = cards.Keys.Single(key => key != instance);
            Assert.Equal(ModelHub.Model, cards[instance]["display_name"]!.GetValue<string>());
            Assert.Equal(CanonicalJson.Write(cards[officialInstance]), CanonicalJson.Write(cards[instance]));
            Assert.Single(cards.Values.Select(ModelCardChecksum.Compute).Distinct());
            await frontend.ServesAsync(ModelHub.Model, StartLimit);
            Assert.Equal(await AnswerAsync(frontend, officialInstance), await AnswerAsync(frontend, instance));
        }

        await hub.StopAsync(); // it would like to ask, and nobody is there
        await ServesFromCacheAsync(frontend, variables);
    }

    public void Dispose()
    {
        _store.Dispose();
        _cache.Dispose();
    }

    /// <summary>Without a name of its own: the model is called what <c>--model</c> says.</summary>
    private static IEnumerable<string> Arguments => ["--model", ModelHub.Model, .. Peers.EngineArguments.Skip(4)];

    private async Task ServesFromCacheAsync(Frontend frontend, IReadOnlyDictionary<string, string> variables)
    {
        await using var worker = Start(variables);
        await worker.ReadyAsync(StartLimit);
        var instance = ulong.Parse(worker.Instance, NumberStyles.HexNumber, CultureInfo.InvariantCulture);
        Assert.Equal(ModelHub.Model, Cards()[instance]["display_name"]!.GetValue<string>());
        await frontend.ServesAsync(ModelHub.Model, StartLimit);
        Assert.StartsWith("200 ", await AnswerAsync(frontend, instance), StringComparison.Ordinal);
        worker.Process.Signal("TERM");
        Assert.Equal(0, await worker.Process.ExitCodeAsync(StartLimit));
    }

    private WorkerProcess Start(IReadOnlyDictionary<string, string> variables) =>
        WorkerProcess.Start(_store.Path, ["--python", Peers.Python, .. Arguments], variables);

    private static ChildProcess StartOfficial(IReadOnlyDictionary<string, string> variables) =>
        new(
            "official",
            Peers.Python,
            ["-m", "dynamo.vllm", .. Arguments],
            new Dictionary<string, string>(variables) { ["DYN_SYSTEM_PORT"] = FreePorts.Next().ToString(CultureInfo.InvariantCulture) }
        );

    private static async Task<string> AnswerAsync(Frontend frontend, ulong instance)
    {
        var body = new JsonObject
        {
            ["model"] = ModelHub.Model,
            ["messages"] = new JsonArray(new JsonObject { ["role"] = "user", ["content"] = "hello world" }),
            ["max_tokens"] = 16,
            ["temperature"] = 0,
        };
        using var response = await frontend.PostAsync("/v1/chat/completions", body, instance);
        var answer = JsonNode.Parse(await response.Content.ReadAsStringAsync())!;
        return $"{(int)response.StatusCode} {answer["model"]} {answer["choices"]?.ToJsonString()} {answer["usage"]?["completion_tokens"]}";
    }

    private Dictionary<ulong, JsonObject> Cards()
    {
        var folder = Path.Combine(_store.Path, "v1", "mdc");
        return !Directory.Exists(folder)
            ? []
            : Directory
                .GetFiles(folder)
                .Where(path => !Path.GetFileName(path).StartsWith('.'))
                .Select(path => JsonNode.Parse(File.ReadAllText(path))!.AsObject())
                .ToDictionary(record => record["instance_id"]!.GetValue<ulong>(), record => record["card_json"]!.AsObject());
    }
}
