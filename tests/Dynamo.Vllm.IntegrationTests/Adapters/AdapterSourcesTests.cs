using System.Text;
using Dynamo.Vllm.Core.Adapters;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Transports.Adapters;

namespace Dynamo.Vllm.IntegrationTests.Adapters;

/// <summary>Adapters from a folder, from a hub and from an object store, over
/// real sockets. Texts are the official worker's where it has one.</summary>
public sealed class AdapterSourcesTests : IAsyncLifetime
{
    private readonly TemporaryFolder _folder = new();
    private FileServer _server = null!;

    private string Cache => Path.Combine(_folder.Path, "cache");

    public async Task InitializeAsync() => _server = await FileServer.StartAsync();

    public async Task DisposeAsync()
    {
        await _server.DisposeAsync();
        _folder.Dispose();
    }

    [Theory]
    [InlineData("file:///nope", "Download failed: Local LoRA not found: file:///nope")]
    [InlineData("file://", "Download failed: Local LoRA not found: file://")]
    [InlineData("file:///etc/hostname", "Download failed: Local LoRA not found: file:///etc/hostname")]
    [InlineData("file:///a\0b", "Download failed: Local LoRA not found: file:///a\0b")]
    [InlineData("/etc", "Download failed: LoRA /etc not found in any source")]
    [InlineData("FILE:///etc", "Download failed: LoRA FILE:///etc not found in any source")]
    [InlineData("http://x/y", "Download failed: LoRA http://x/y not found in any source")]
    [InlineData("s3://", "Download failed: No bucket in S3 URI")]
    [InlineData("s3://b/k", "Download failed: Generic S3 error: an error occurred while loading credentials")]
    [InlineData("hf://", "Download failed: invalid Hugging Face repository: \"\"")]
    [InlineData("hf://a/../b", "Download failed: invalid Hugging Face repository: \"a/../b\"")]
    [InlineData("hf://a/b@..", "Download failed: invalid Hugging Face revision: \"..\"")]
    [InlineData("hf://a/b", "Download failed: HF_HUB_OFFLINE is enabled and hf://a/b@main is not fully cached")]
    public async Task What_cannot_be_had_is_refused(string uri, string message)
    {
        var failure = await FailAsync(Options(("HF_HUB_OFFLINE", "1")), uri);
        Assert.Equal(message, failure);
        Assert.Empty(_server.Requests);
    }

    [Fact]
    public async Task A_local_folder_is_used_where_it_lies() =>
        Assert.Equal(_folder.Path, await FetchAsync(Options(), $"file://{_folder.Path}"));

    [Fact]
    public async Task The_hub_gives_the_files_of_one_commit_and_is_asked_once()
    {
        _server.Files["/api/models/org/ad/revision/main"] = Encoding.UTF8.GetBytes(
            """{"sha":"0123abcd","siblings":[{"rfilename":"README.md"},{"rfilename":"adapter_config.json"},{"rfilename":"adapter_model.bin"},{"rfilename":"adapter_model.safetensors"},{"rfilename":"optimizer.pt"}]}"""
        );
        _server.Files["/org/ad/resolve/0123abcd/adapter_config.json"] = "{}"u8.ToArray();
        _server.Files["/org/ad/resolve/0123abcd/adapter_model.safetensors"] = new byte[3_000_000];
        var folder = await FetchAsync(Options(("HF_TOKEN", "secret")), "hf://org/ad");
        Assert.Equal(Path.Combine(Cache, "hf__org_ad"), folder);
        Assert.Equal(["adapter_config.json", "adapter_model.safetensors"], Directory.GetFiles(folder).Select(Path.GetFileName).Order());
        Assert.Equal(3_000_000, new FileInfo(Path.Combine(folder, "adapter_model.safetensors")).Length);
        Assert.Equal(3, _server.Requests.Count);
        Assert.All(_server.Requests, request => Assert.Equal("Bearer secret", request.Authorization));
        Assert.Equal(folder, await FetchAsync(Options(), "hf://org/ad"));
        Assert.Equal(3, _server.Requests.Count);
        Assert.Single(Directory.GetFileSystemEntries(Cache)); // nothing half fetched
    }

    [Fact]
    public async Task What_the_hub_s_own_tools_fetched_is_used()
    {
        var model = Path.Combine(_folder.Path, "hub", "models--org--ad");
        var snapshot = Directory.CreateDirectory(Path.Combine(model, "snapshots", "0123abcd")).FullName;
        Directory.CreateDirectory(Path.Combine(model, "refs"));
        await File.WriteAllTextAsync(Path.Combine(model, "refs", "main"), "0123abcd\n");
        await File.WriteAllTextAsync(Path.Combine(snapshot, "adapter_config.json"), "{}");
        await File.WriteAllTextAsync(Path.Combine(snapshot, "adapter_model.bin"), "");
        foreach (var uri in (string[])["hf://org/ad", "hf://org/ad@main", "hf://org/ad@0123abcd"])
        {
            Assert.Equal(snapshot, await FetchAsync(Options(("HF_HUB_OFFLINE", "1")), uri));
        }
    }

    [Fact]
    public async Task An_object_store_gives_what_lies_below_the_prefix()
    {
        _server.Files["/bucket/?list-type=2&max-keys=257&prefix=lo%20ras%2Fad%2F"] = Encoding.UTF8.GetBytes(
            """
            <?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Contents><Key>lo ras/ad/</Key></Contents>
            <Contents><Key>lo ras/ad/adapter_config.json</Key></Contents><Contents><Key>lo ras/ad/adapter_model.safetensors</Key></Contents></ListBucketResult>
            """
        );
        _server.Files["/bucket/lo ras/ad/adapter_config.json"] = "{}"u8.ToArray();
        _server.Files["/bucket/lo ras/ad/adapter_model.safetensors"] = "weights"u8.ToArray();
        var folder = await FetchAsync(S3(), "s3://bucket/lo ras/ad/");
        Assert.Equal("weights", await File.ReadAllTextAsync(Path.Combine(folder, "adapter_model.safetensors")));
        Assert.All(
            _server.Requests,
            request => Assert.StartsWith("AWS4-HMAC-SHA256 Credential=id/", request.Authorization, StringComparison.Ordinal)
        );
    }

    [Theory]
    [InlineData("../escape", "Download failed: the file name '../escape' leads out of its folder")]
    [InlineData("other.txt", "Download failed: s3://bucket/ad is not a valid LoRA: expected adapter_config.json and adapter weights")]
    public async Task What_is_no_adapter_is_not_kept(string file, string message)
    {
        _server.Files["/bucket/"] = Encoding.UTF8.GetBytes($"<R><Key>ad/{file}</Key></R>");
        _server.Files["/bucket/ad/other.txt"] = [1];
        _server.Files["/bucket/escape"] = [1];
        Assert.Equal(message, await FailAsync(S3(), "s3://bucket/ad"));
        Assert.Empty(Directory.GetFileSystemEntries(Cache));
        Assert.False(File.Exists(Path.Combine(_folder.Path, "escape")));
    }

    [Fact]
    public async Task Files_bytes_and_time_have_a_limit()
    {
        _server.Files["/bucket/"] = "<R><Key>ad/adapter_config.json</Key><Key>ad/adapter_model.bin</Key><Key>ad/x</Key></R>"u8.ToArray();
        foreach (var name in (string[])["adapter_config.json", "adapter_model.bin", "x"])
        {
            _server.Files[$"/bucket/ad/{name}"] = new byte[100];
        }

        Assert.Equal(
            "Download failed: s3://bucket/ad has 3 files, at most 2",
            await FailAsync(S3() with { FilesMax = 2 }, "s3://bucket/ad")
        );
        Assert.Equal(
            "Download failed: s3://bucket/ad has more than 250 bytes",
            await FailAsync(S3() with { BytesMax = 250 }, "s3://bucket/ad")
        );
        Assert.EndsWith(
            "make no file name, at most 255",
            await FailAsync(S3(), $"s3://bucket/{new string('x', 300)}"),
            StringComparison.Ordinal
        );
        _server.IsStuck = true;
        Assert.Equal(
            "Download failed: s3://bucket/ad is not here after 0 s",
            await FailAsync(S3() with { TimeLimit = TimeSpan.FromMilliseconds(50) }, "s3://bucket/ad")
        );
        Assert.Empty(Directory.GetFileSystemEntries(Cache));
    }

    [Theory]
    [InlineData("hf://org/ad", "Download failed: the hub answers 404 for /api/models/org/ad/revision/main")]
    [InlineData("s3://bucket/ad", "Download failed: Generic S3 error: 404 for /bucket/")]
    public async Task A_server_s_refusal_is_passed_on(string uri, string message) => Assert.Equal(message, await FailAsync(S3(), uri));

    [Fact]
    public async Task A_caller_that_gives_up_is_heard()
    {
        _server.IsStuck = true;
        using var sources = new AdapterSources(S3(), TimeProvider.System);
        using var leaving = new CancellationTokenSource();
        var fetching = sources.FetchAsync("hf://org/ad", leaving.Token);
        await leaving.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => fetching.WaitAsync(TimeSpan.FromSeconds(30)));
    }

    private AdapterSourceOptions S3() =>
        Options(("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "key"), ("AWS_ENDPOINT_URL", _server.Address.ToString()));

    private AdapterSourceOptions Options(params (string Name, string Value)[] variables)
    {
        var environment = variables.ToDictionary(variable => variable.Name, variable => variable.Value);
        environment.TryAdd("HF_ENDPOINT", _server.Address.ToString());
        environment.TryAdd("HF_HOME", _folder.Path);
        return AdapterSourceOptions.Read(environment, Cache);
    }

    private static async Task<string> FetchAsync(AdapterSourceOptions options, string uri)
    {
        using var sources = new AdapterSources(options, TimeProvider.System);
        return await sources.FetchAsync(uri, default);
    }

    private static async Task<string> FailAsync(AdapterSourceOptions options, string uri) =>
        (await Assert.ThrowsAsync<AdapterSourceException>(() => FetchAsync(options, uri))).Message;
}
