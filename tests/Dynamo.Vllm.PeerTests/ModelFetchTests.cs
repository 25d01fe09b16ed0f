using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.PeerTests;

/// <summary>Models of a hub, fetched by the huggingface_hub of the peers' Python, for the simulated engine.</summary>
[Trait("Category", "Peers")]
public sealed class ModelFetchTests : IDisposable
{
    private const string Secret = "hf_secret_of_the_test";

    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(2);

    private readonly TemporaryFolder _store = new();
    private readonly TemporaryFolder _cache = new();
    private readonly TemporaryFolder _repository = new();

    private string Snapshots => Path.Combine(_cache.Path, "hub", "models--tests--tiny", "snapshots");

    [PeerFact]
    public async Task A_stop_during_a_fetch_ends_at_once_and_the_next_start_goes_on_with_what_is_whole()
    {
        CopyModel();
        File.WriteAllBytes(Path.Combine(_repository.Path, "model.safetensors"), new byte[32 << 20]);
        await using (var slow = await ModelHub.StartAsync(_repository.Path, "--token", Secret, "--bytes-per-second", "2000000"))
        {
            await using var worker = Start(slow);
            await worker.Process.LineAsync("Start: model, for ", Limit);
            Assert.Equal(200, await worker.StatusAsync("/live"));
            Assert.Equal(503, await worker.StatusAsync("/health"));
            worker.Process.Signal("TERM");
            Assert.Equal(0, await worker.Process.ExitCodeAsync(TimeSpan.FromSeconds(10)));
            Assert.Contains(worker.Process.Lines, line => line.Contains("The fetch of tests/tiny is cut off", StringComparison.Ordinal));
            Assert.Empty(Directory.GetFiles(_store.Path, "*", SearchOption.AllDirectories));
        }

        Assert.Empty(Directory.GetFiles(_cache.Path, "*.incomplete", SearchOption.AllDirectories));
        Assert.Equal(ModelFilesBut("model.safetensors"), FilesOf(Snapshots));

        await using var hub = await ModelHub.StartAsync(_repository.Path, "--token", Secret);
        await using var next = Start(hub);
        await next.ReadyAsync(Limit);
        Assert.Equal(1, hub.CountOf("model.safetensors"));
        Assert.Equal(0, hub.CountOf("tokenizer.json"));
        Assert.All(hub.Requests, request => Assert.EndsWith(" token", request, StringComparison.Ordinal));
        Assert.DoesNotContain(next.Process.Lines, line => line.Contains(Secret, StringComparison.Ordinal));
        Assert.DoesNotContain(next.Process.Lines, line => line.Contains("/resolve/", StringComparison.Ordinal)); // may be signed

        var asked = hub.Requests.Count();
        await using var offline = Start(hub, offline: true);
        await offline.ReadyAsync(Limit);
        Assert.Equal(asked, hub.Requests.Count());
    }

    [PeerTheory]
    [InlineData("tests/none", null, "--model 'tests/none': not on http://127.0.0.1:")]
    [InlineData("tests/tiny", "v9", "--model 'tests/tiny' at revision 'v9': http://127.0.0.1:")]
    [InlineData("a/b/c", null, "--model 'a/b/c': neither a local folder nor the name of a model on a hub (ORG/NAME)")]
    [InlineData("ngc://org/name/1", null, "--model 'ngc://org/name/1': ngc:// is not supported yet")]
    [InlineData("s3://bucket/name", null, "--model 's3://bucket/name': s3:// is not supported yet")]
    [InlineData("/nowhere", null, "--model '/nowhere': there is no such folder")]
    public async Task What_cannot_be_had_is_said_in_one_line(string model, string? revision, string text)
    {
        CopyModel();
        await using var hub = await ModelHub.StartAsync(_repository.Path);
        await RefusedAsync(Start(hub, model, revision is null ? [] : ["--revision", revision], token: null), text);
    }

    [PeerFact]
    public async Task A_model_for_few_is_refused_with_a_hint_that_does_not_show_the_token()
    {
        CopyModel();
        await using var hub = await ModelHub.StartAsync(_repository.Path, "--token", "another");
        await RefusedAsync(Start(hub), "check the name, and whether HF_TOKEN may read it");
    }

    [PeerFact]
    public async Task Offline_a_model_that_is_not_cached_is_refused()
    {
        CopyModel();
        await using var hub = await ModelHub.StartAsync(_repository.Path);
        var text = "HF_HUB_OFFLINE allows no fetch";
        await RefusedAsync(Start(hub, offline: true), text);
        Assert.Empty(hub.Requests);
    }

    public void Dispose()
    {
        _store.Dispose();
        _cache.Dispose();
        _repository.Dispose();
    }

    private static async Task RefusedAsync(WorkerProcess started, string text)
    {
        await using var worker = started;
        Assert.Equal(1, await worker.Process.ExitCodeAsync(Limit));
        var lines = worker.Process.Lines.Where(line => line.Contains(text, StringComparison.Ordinal)).ToList();
        Assert.True(lines.Count == 1, worker.Process.Tail);
        Assert.DoesNotContain(worker.Process.Lines, line => line.Contains("Traceback", StringComparison.Ordinal));
        Assert.DoesNotContain(worker.Process.Lines, line => line.Contains(Secret, StringComparison.Ordinal));
    }

    private static IEnumerable<string> FilesOf(string folder) =>
        Directory.GetFiles(folder, "*", SearchOption.AllDirectories).Select(path => Path.GetFileName(path)!).Order(StringComparer.Ordinal);

    private IEnumerable<string> ModelFilesBut(string name) => FilesOf(_repository.Path).Where(file => file != name);

    private void CopyModel()
    {
        foreach (var file in Directory.GetFiles(Peers.TinyModel))
        {
            File.Copy(file, Path.Combine(_repository.Path, Path.GetFileName(file)));
        }
    }

    private WorkerProcess Start(
        ModelHub hub,
        string model = ModelHub.Model,
        IEnumerable<string>? arguments = null,
        string? token = Secret,
        bool offline = false
    )
    {
        var variables = hub.Variables(_store.Path, _cache.Path);
        variables["HF_TOKEN"] = token ?? "";
        variables["HF_HUB_OFFLINE"] = offline ? "1" : "0";
        return WorkerProcess.StartSimulated(_store.Path, ["--python", Peers.Python, "--model", model, .. arguments ?? []], variables);
    }
}
