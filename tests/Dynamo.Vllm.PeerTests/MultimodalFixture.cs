using System.Globalization;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Testing.Media;

namespace Dynamo.Vllm.PeerTests;

/// <summary>Workers that see, on a Qwen2-VL made with random weights, and a host of images made with the peers' PIL.</summary>
public sealed class MultimodalFixture : NamedPairFixture
{
    public const string Chat = "/v1/chat/completions";

    private const string Images = """
        import sys
        from PIL import Image, ImageDraw

        def save(name, size, colour, format, mode="RGB", **options):
            image = Image.new(mode, size, colour)
            box = [size[0] // 4, size[1] // 4, size[0] // 2, size[1] // 2]
            ImageDraw.Draw(image).ellipse(box, fill=tuple(255 - one for one in colour) if isinstance(colour, tuple) else 17)
            image.save(f"{sys.argv[1]}/{name}", format, **options)

        save("red.png", (100, 80), (255, 0, 0), "PNG")
        save("blue.jpg", (64, 200), (0, 0, 255), "JPEG")
        save("green.webp", (150, 60), (0, 200, 0), "WEBP", lossless=True)
        save("half.png", (90, 90), (10, 200, 30, 128), "PNG", mode="RGBA")
        save("grey.png", (56, 56), 99, "PNG", mode="L")
        save("large.jpg", (640, 480), (200, 150, 100), "JPEG")
        save("picture.gif", (40, 40), (1, 2, 3), "GIF")
        """;

    public MultimodalFixture()
        : base(
            Chat,
            new JsonObject
            {
                ["messages"] = new JsonArray(new JsonObject { ["role"] = "user", ["content"] = "hello" }),
                ["max_tokens"] = 1,
            },
            ["--enable-multimodal", "--limit-mm-per-prompt", """{"image":4,"video":1}"""]
        ) { }

    /// <summary>Name of a prefill and a decode worker of ours.</summary>
    public const string SplitName = "split";

    private static readonly string Transfer = new JsonObject
    {
        ["kv_connector"] = "NixlConnector",
        ["kv_role"] = "kv_both",
        ["kv_buffer_device"] = "cpu",
    }.ToJsonString();

    private readonly List<WorkerProcess> _split = [];

    public MediaHost Host { get; } = new();

    /// <summary>Images by name, as they are on <see cref="Host"/>.</summary>
    public IReadOnlyDictionary<string, byte[]> Pictures { get; private set; } = new Dictionary<string, byte[]>();

    protected override IReadOnlyDictionary<string, string> Environment { get; } =
        new Dictionary<string, string> { ["DYN_MM_ALLOW_INTERNAL"] = "1" };

    protected override IEnumerable<string> FlagsOf(string name) => KvEventFlags.OnFreePort();

    protected override bool StartsTogether => true;

    protected override async Task<IReadOnlyList<string>> ModelAsync(string folder)
    {
        var (model, pictures) = (Path.Combine(folder, "sees"), Path.Combine(folder, "pictures"));
        Directory.CreateDirectory(pictures);
        await Task.WhenAll(VisionModel.MakeAsync(model), VisionModel.RunAsync("-c", Images, pictures));
        Pictures = Directory.GetFiles(pictures).ToDictionary(path => Path.GetFileName(path), File.ReadAllBytes);
        foreach (var (name, content) in Pictures)
        {
            Host.Add(name, content);
        }

        // Beside the others: most of a start is reading the same libraries.
        _split.AddRange(((string[])["prefill", "decode"]).Select(mode => StartSplit(mode, model)));
        return ["--model", model];
    }

    /// <summary>The decode worker, once both serve.</summary>
    public async Task<WorkerProcess> SplitAsync(TimeSpan limit)
    {
        await Task.WhenAll(_split.Select(worker => worker.ReadyAsync(limit)));
        return _split[1];
    }

    public override async Task DisposeAsync()
    {
        foreach (var worker in _split)
        {
            await worker.DisposeAsync();
        }

        await base.DisposeAsync();
        await Host.DisposeAsync();
    }

    private WorkerProcess StartSplit(string mode, string model)
    {
        var variables = new Dictionary<string, string>(Peers.Variables(Store).Concat(Environment))
        {
            ["VLLM_NIXL_SIDE_CHANNEL_PORT"] = FreePorts.Next().ToString(CultureInfo.InvariantCulture),
            ["VLLM_NIXL_SIDE_CHANNEL_HOST"] = "127.0.0.1",
            ["UCX_TLS"] = "tcp,self,sm,cma",
        };
        string[] own =
        [
            "--model",
            model,
            "--served-model-name",
            SplitName,
            "--disaggregation-mode",
            mode,
            "--kv-transfer-config",
            Transfer,
        ];
        return WorkerProcess.Start(Store, ["--python", Peers.Python, .. Peers.EngineArguments, "--enable-multimodal", .. own], variables);
    }
}
