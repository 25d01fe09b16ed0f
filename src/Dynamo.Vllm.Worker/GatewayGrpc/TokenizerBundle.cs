using System.IO.Compression;
using System.IO.Enumeration;
using System.Security.Cryptography;
using Dynamo.Vllm.Worker.GatewayGrpc.Contract;
using Dynamo.Vllm.Worker.GrpcRequests;
using Google.Protobuf;
using Grpc.Core;

namespace Dynamo.Vllm.Worker.GatewayGrpc;

/// <summary>What a client needs to be the model's tokenizer, as a zip in parts. Thread-safe.</summary>
internal sealed class TokenizerBundle : IDisposable
{
    /// <summary>Of a part, as the reference's.</summary>
    private const int PartBytes = 64 << 10;

    /// <summary>All files before they are packed: the largest tokenizers have a tenth of it.</summary>
    private const long BytesMax = 256 << 20;

    /// <summary>Weights have other names.</summary>
    private static readonly string[] Names =
    [
        "tokenizer.json",
        "tokenizer_config.json",
        "config.json",
        "generation_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "vocab.json",
        "merges.txt",
        "chat_template.json",
        "*processor_config.json",
        "*.jinja",
        "*.model",
        "*.tiktoken",
    ];

    /// <summary>It is packed once, for the first who asks.</summary>
    private readonly SemaphoreSlim _turn = new(1, 1);

    private (ReadOnlyMemory<byte> Zip, string Digest)? _packed;

    /// <param name="serving">The worker.</param>
    /// <param name="write">Takes a part.</param>
    /// <param name="cancellationToken">The caller is gone.</param>
    /// <exception cref="RpcException">There is nothing, or too much of it.</exception>
    public async Task SendAsync(GrpcServing serving, Func<GetTokenizerChunk, Task> write, CancellationToken cancellationToken)
    {
        var (zip, digest) = await GetAsync(FolderOf(serving), cancellationToken).ConfigureAwait(false);
        for (var start = 0; start < zip.Length; start += PartBytes)
        {
            var part = zip[start..Math.Min(start + PartBytes, zip.Length)];
            var isLast = start + part.Length == zip.Length;
            await write(new GetTokenizerChunk { Data = UnsafeByteOperations.UnsafeWrap(part), Sha256 = isLast ? digest : "" })
                .ConfigureAwait(false);
        }
    }

    public void Dispose() => _turn.Dispose();

    private async Task<(ReadOnlyMemory<byte> Zip, string Digest)> GetAsync(string folder, CancellationToken cancellationToken)
    {
        await _turn.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            if (_packed is { } packed)
            {
                return packed;
            }

            var zip = await PackAsync(folder, cancellationToken).ConfigureAwait(false);
            _packed = packed = (zip, Convert.ToHexStringLower(SHA256.HashData(zip.Span)));
            return packed;
        }
        finally
        {
            _turn.Release();
        }
    }

    /// <summary>The model's own, unless the engine was given another.</summary>
    private static string FolderOf(GrpcServing serving)
    {
        var (engine, tokenizer) = (serving.Engine.Description, serving.Engine.Description.ModelFacts.Tokenizer);
        if (Directory.Exists(tokenizer))
        {
            return tokenizer;
        }

        return tokenizer.Length == 0 || tokenizer == engine.Model || tokenizer == serving.Configuration.Model
            ? serving.ModelFolder
            : throw new RpcException(new Status(StatusCode.FailedPrecondition, $"tokenizer '{tokenizer}' is no folder of this host"));
    }

    private static async Task<ReadOnlyMemory<byte>> PackAsync(string folder, CancellationToken cancellationToken)
    {
        try
        {
            var files = Find(folder);
            using var packed = new MemoryStream();
            using (var zip = new ZipArchive(packed, ZipArchiveMode.Create, leaveOpen: true))
            {
                foreach (var file in files)
                {
                    var source = file.OpenRead();
                    await using var opened = source.ConfigureAwait(false);
                    var target = await zip.CreateEntry(file.Name).OpenAsync(cancellationToken).ConfigureAwait(false);
                    await using var entry = target.ConfigureAwait(false);
                    await source.CopyToAsync(target, cancellationToken).ConfigureAwait(false);
                }
            }

            return packed.ToArray();
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            // Boundary mapping (style E3).
            throw new RpcException(new Status(StatusCode.Internal, $"the tokenizer's files cannot be read: {exception.Message}"));
        }
    }

    private static List<FileInfo> Find(string folder)
    {
        var files = new DirectoryInfo(folder)
            .EnumerateFiles()
            .Where(file => Names.Any(name => FileSystemName.MatchesSimpleExpression(name, file.Name, ignoreCase: false)))
            .Where(file => file.ResolveLinkTarget(returnFinalTarget: true) is not { Exists: false })
            .OrderBy(file => file.Name, StringComparer.Ordinal)
            .ToList();
        if (files.Count == 0)
        {
            throw new RpcException(new Status(StatusCode.FailedPrecondition, $"'{folder}' has no files of a tokenizer"));
        }

        var bytes = files.Sum(file => ((FileInfo?)file.ResolveLinkTarget(returnFinalTarget: true) ?? file).Length);
        return bytes <= BytesMax
            ? files
            : throw new RpcException(
                new Status(StatusCode.ResourceExhausted, $"the tokenizer's files take {bytes} bytes, above the limit {BytesMax}")
            );
    }
}
