using System.Globalization;
using System.Text.Json;

namespace Dynamo.Vllm.Worker.Tools.Bench;

/// <summary>Token ids that a prompt may hold.</summary>
/// <param name="Size">All are below it.</param>
/// <param name="Special">Not these: they mean something to a model (an image, the end of a turn).</param>
internal sealed record Vocabulary(int Size, IReadOnlySet<int> Special)
{
    private const long FileBytesMax = 64 << 20;

    public int Next(Random random)
    {
        while (true)
        {
            var token = random.Next(Size);
            if (!Special.Contains(token))
            {
                return token;
            }
        }
    }

    /// <summary>From <c>config.json</c> and <c>tokenizer_config.json</c> of a model's folder.</summary>
    /// <exception cref="FormatException">They cannot be had, or do not say it.</exception>
    public static Vocabulary Read(string folder)
    {
        using var config = Parse(Path.Combine(folder, "config.json"));
        var size = SizeIn(config.RootElement) ?? (config.RootElement.TryGetProperty("text_config", out var text) ? SizeIn(text) : null);
        if (size is not > 0)
        {
            throw new FormatException($"--tokenizer: {Path.Combine(folder, "config.json")} has no vocab_size");
        }

        var special = new HashSet<int>();
        var tokenizer = Path.Combine(folder, "tokenizer_config.json");
        if (File.Exists(tokenizer))
        {
            using var document = Parse(tokenizer);
            if (document.RootElement.TryGetProperty("added_tokens_decoder", out var added) && added.ValueKind == JsonValueKind.Object)
            {
                special.UnionWith(added.EnumerateObject().Select(token => int.Parse(token.Name, CultureInfo.InvariantCulture)));
            }
        }

        return special.Count(token => token < size) < size
            ? new Vocabulary(size.Value, special)
            : throw new FormatException($"--tokenizer: {tokenizer} leaves no token that is not special");
    }

    private static int? SizeIn(JsonElement config) =>
        config.TryGetProperty("vocab_size", out var size) && size.TryGetInt32(out var value) ? value : null;

    private static JsonDocument Parse(string path)
    {
        try
        {
            return new FileInfo(path).Length <= FileBytesMax
                ? JsonDocument.Parse(File.ReadAllBytes(path))
                : throw new FormatException($"--tokenizer: {path} is longer than {FileBytesMax} bytes");
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException or JsonException)
        {
            throw new FormatException($"--tokenizer takes the folder of a model on this host: {exception.Message}", exception);
        }
    }
}
