using System.Text.Json;
using Blake3;
using Dynamo.Vllm.Protocol.ModelCards;
using Dynamo.Vllm.Worker.Configuration;

namespace Dynamo.Vllm.Worker.Models;

/// <summary>Finds the files of a local model that its card names, with their checksums (llm-registration.md, 2.1 and 4).</summary>
internal static class ModelDirectory
{
    private static readonly HashSet<string> WeightEndings = new(StringComparer.OrdinalIgnoreCase)
    {
        ".safetensors",
        ".bin",
        ".gguf",
        ".onnx",
        ".tflite",
        ".h5",
        ".pt",
        ".pth",
        ".msgpack",
    };

    /// <summary>No metadata is that large: it is weights with another ending, and hashing it would hold the start for minutes.</summary>
    private const long SiblingBytesMax = 1L << 30;

    /// <summary>Enough for the hash to work on many blocks at once.</summary>
    private const int PieceBytes = 128 << 10;

    /// <summary>Says what is wrong before minutes are spent on an engine that
    /// could not be registered: all that the card needs is read.</summary>
    /// <exception cref="ConfigurationException">It is no folder of a model, or a file of it cannot be used.</exception>
    public static void Require(string folder, string? customTemplate) => _ = Read(folder, customTemplate, withSiblings: false);

    private static void RequireModel(string folder)
    {
        if (!Directory.Exists(folder))
        {
            throw new ConfigurationException($"--model '{folder}': there is no such folder");
        }

        if (!IsThere(Path.Combine(folder, "config.json")) && !IsThere(Path.Combine(folder, "params.json")))
        {
            throw new ConfigurationException($"--model '{folder}': config.json is missing");
        }
    }

    /// <param name="folder">Folder of the model.</param>
    /// <param name="customTemplate">Chat template of the operator, or null.</param>
    /// <param name="withSiblings">Also list what is served along when this worker hosts the files.</param>
    /// <exception cref="ConfigurationException">A file that is needed is missing or ambiguous.</exception>
    public static ModelFiles Read(string folder, string? customTemplate, bool withSiblings)
    {
        RequireModel(folder);
        if (Optional(folder, "config.json") is not { } config)
        {
            return new ModelFiles(); // Mistral's own format: the card names no file
        }

        var (tokenizer, kind) = Tokenizer(folder);
        var (template, isJson, isCustom) = Template(folder, customTemplate);
        var files = new ModelFiles
        {
            ModelInfo = config,
            Tokenizer = tokenizer,
            TokenizerKind = kind,
            PromptFormatter = Optional(folder, "tokenizer_config.json"),
            ChatTemplate = template,
            IsChatTemplateJson = isJson,
            IsChatTemplateCustom = isCustom,
            GenerationConfig = Optional(folder, "generation_config.json"),
            ArchitecturalContextLength = ContextLength(folder),
        };
        return withSiblings ? files with { ExtraFiles = Siblings(folder, files) } : files;
    }

    /// <summary>Hashes the whole file, a piece at a time: a tokenizer may be some 20 MB, another file as much as 1 GiB.</summary>
    /// <exception cref="ConfigurationException">It cannot be read.</exception>
    public static CheckedFile Check(string path)
    {
        try
        {
            using var file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 0);
            using var hasher = Hasher.New();
            var piece = new byte[PieceBytes];
            var size = 0L;
            for (int read; (read = file.Read(piece)) > 0; size += read)
            {
                hasher.Update(piece.AsSpan(0, read));
            }

            return new CheckedFile(Path.GetFullPath(path), hasher.Finalize().ToString(), size);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new ConfigurationException($"cannot read model file {path}: {exception.Message}");
        }
    }

    /// <summary>Not so for a link to nothing, of which an interrupted download leaves many; .NET says that it exists.</summary>
    private static bool IsThere(string path) =>
        File.Exists(path) && File.ResolveLinkTarget(path, returnFinalTarget: true) is not { Exists: false };

    private static CheckedFile? Optional(string folder, string name)
    {
        var path = Path.Combine(folder, name);
        return IsThere(path) ? Check(path) : null;
    }

    private static (CheckedFile? File, string Kind) Tokenizer(string folder)
    {
        if (Optional(folder, "tokenizer.json") is { } json)
        {
            return (json, "hf_tokenizer_json");
        }

        if (Optional(folder, "tiktoken.model") is { } model)
        {
            return (model, "tik_token_model");
        }

        var tiktokens = Directory.GetFiles(folder, "*.tiktoken").Where(IsThere).ToArray();
        return tiktokens.Length switch
        {
            0 => (null, "hf_tokenizer_json"),
            1 => (Check(tiktokens[0]), "tik_token_model"),
            _ => throw new ConfigurationException($"--model '{folder}': {tiktokens.Length} *.tiktoken files, at most 1 is possible"),
        };
    }

    private static (CheckedFile? File, bool IsJson, bool IsCustom) Template(string folder, string? custom)
    {
        if (custom is not null)
        {
            return (Check(custom), custom.EndsWith(".json", StringComparison.OrdinalIgnoreCase), true);
        }

        return Optional(folder, "chat_template.jinja") is { } jinja
            ? (jinja, false, false)
            : (Optional(folder, "chat_template.json"), true, false);
    }

    private static uint? ContextLength(string folder)
    {
        uint? Read(string file, params string[] path)
        {
            var full = Path.Combine(folder, file);
            if (!IsThere(full))
            {
                return null;
            }

            using var document = ModelJson.Parse(full);
            var element = document.RootElement;
            foreach (var name in path)
            {
                if (element.ValueKind != JsonValueKind.Object || !element.TryGetProperty(name, out element))
                {
                    return null;
                }
            }

            return element.ValueKind == JsonValueKind.Number && element.TryGetUInt32(out var value) && value > 0 ? value : null;
        }

        return Read("config.json", "max_position_embeddings")
            ?? Read("config.json", "text_config", "max_position_embeddings")
            ?? Read("tokenizer_config.json", "model_max_length");
    }

    private static List<CheckedFile> Siblings(string folder, ModelFiles files)
    {
        var named = new[] { files.ModelInfo, files.Tokenizer, files.PromptFormatter, files.ChatTemplate, files.GenerationConfig }
            .Where(file => file is not null)
            .Select(file => file!.Path)
            .ToHashSet(StringComparer.Ordinal);
        return
        [
            .. Directory
                .GetFiles(folder)
                .Order(StringComparer.Ordinal)
                .Where(path =>
                    !named.Contains(Path.GetFullPath(path))
                    && IsSibling(Path.GetFileName(path))
                    && IsThere(path)
                    && BytesOf(path) <= SiblingBytesMax
                )
                .Select(Check),
        ];
    }

    /// <summary>Of what a link leads to.</summary>
    private static long BytesOf(string path)
    {
        using var file = File.OpenHandle(path);
        return RandomAccess.GetLength(file);
    }

    private static bool IsSibling(string name) =>
        !name.StartsWith('.')
        && !name.StartsWith("README", StringComparison.OrdinalIgnoreCase)
        && !WeightEndings.Contains(Path.GetExtension(name))
        && !name.EndsWith(".index.json", StringComparison.OrdinalIgnoreCase);
}
