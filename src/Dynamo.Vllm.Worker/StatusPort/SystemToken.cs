using System.Security.Cryptography;
using System.Text;
using Dynamo.Vllm.Worker.Configuration;
using Dynamo.Vllm.Worker.Configuration.Options;

namespace Dynamo.Vllm.Worker.StatusPort;

/// <summary>The token that guards control calls and the status page, out of a file that is read at each use: a renewed one counts at
/// once.</summary>
internal sealed partial class SystemToken
{
    /// <summary>Of characters. Less can be tried out.</summary>
    public const int LengthMin = 16;

    /// <summary>Of a file. What is longer is no token, and is not read to its end.</summary>
    private const int BytesMax = 4096;

    private readonly string _path;
    private readonly ILogger _logger;
    private string? _said;

    /// <exception cref="ConfigurationException">The file cannot be read, or holds no token.</exception>
    public SystemToken(string path, ILogger logger)
    {
        _path = path;
        _logger = logger;
        if (TryRead(out var problem) is null)
        {
            throw new ConfigurationException($"{OwnOptions.SystemTokenFile.Flags[0]} {path}: {problem}");
        }
    }

    /// <summary>Bearer, or Basic with the token as password and any name, which is what a browser can send.</summary>
    /// <returns>False also where the file has become unreadable; the log says so.</returns>
    public bool Admits(string? authorization)
    {
        if (TryRead(out var problem) is not { } token)
        {
            // Whoever is refused asks again and again: one line for each problem.
            if (Interlocked.Exchange(ref _said, problem) != problem)
            {
                LogUnreadable(_logger, _path, problem);
            }

            return false;
        }

        Volatile.Write(ref _said, null);
        return Offered(authorization) is { } offered && AreEqual(offered, token);
    }

    private static string? Offered(string? authorization)
    {
        var parts = (authorization ?? "").Split(' ', 2, StringSplitOptions.TrimEntries);
        if (parts.Length != 2)
        {
            return null;
        }

        if (parts[0].Equals("Bearer", StringComparison.OrdinalIgnoreCase))
        {
            return parts[1];
        }

        var bytes = new byte[parts[1].Length];
        return
            parts[0].Equals("Basic", StringComparison.OrdinalIgnoreCase)
            && Convert.TryFromBase64String(parts[1], bytes, out var count)
            && Encoding.UTF8.GetString(bytes, 0, count).Split(':', 2) is [_, var password]
            ? password
            : null;
    }

    /// <summary>In a time that tells neither where they differ nor how long the right one is.</summary>
    private static bool AreEqual(string one, string other) =>
        CryptographicOperations.FixedTimeEquals(
            SHA256.HashData(Encoding.UTF8.GetBytes(one)),
            SHA256.HashData(Encoding.UTF8.GetBytes(other))
        );

    private string? TryRead(out string problem)
    {
        try
        {
            using var file = new FileStream(_path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete, bufferSize: 0);
            var bytes = new byte[BytesMax + 1];
            var count = file.ReadAtLeast(bytes, bytes.Length, throwOnEndOfStream: false);
            var token = Encoding.UTF8.GetString(bytes, 0, count).TrimStart('\uFEFF').Trim();
            problem =
                count > BytesMax ? $"it holds more than {BytesMax} bytes"
                : token.Length < LengthMin ? $"a token has {LengthMin} characters at least, this one has {token.Length}"
                : "";
            return problem.Length == 0 ? token : null;
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            problem = exception.Message;
            return null;
        }
    }

    [LoggerMessage(
        EventId = 3207,
        Level = LogLevel.Error,
        Message = "The token in {Path} cannot be used, so control calls are refused: {Problem}"
    )]
    private static partial void LogUnreadable(ILogger logger, string path, string problem);
}
