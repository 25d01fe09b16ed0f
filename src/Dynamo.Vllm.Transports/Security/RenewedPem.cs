using System.Security.Cryptography;
using System.Text;
using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Transports.Security;

/// <summary>
/// Something made of PEM files that is made again when their content changes, so that renewed certificates need no restart.
/// </summary>
/// <remarks>
/// Looked at on use, once a second at most. Content is compared, not times: mounted secrets are links that are switched, and their own
/// times stay. The first load must work; a later one that fails (half of a pair written, say) keeps the last good one. Thread-safe.
/// </remarks>
internal sealed partial class RenewedPem<T>
    where T : class
{
    private static readonly TimeSpan LookInterval = TimeSpan.FromSeconds(1);

    private readonly string[] _values;
    private readonly Func<T> _load;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;
    private readonly Lock _lock = new();
    private string _stamp;
    private long _looked;
    private T _current;

    /// <exception cref="InvalidOperationException">A file cannot be used.</exception>
    public RenewedPem(IEnumerable<string> values, Func<T> load, TimeProvider time, ILogger logger)
    {
        _values = [.. values];
        _load = load;
        _time = time;
        _logger = logger;
        _stamp = Stamp();
        _current = load();
        _looked = time.GetTimestamp();
    }

    public T Current
    {
        get
        {
            lock (_lock)
            {
                if (_time.GetElapsedTime(_looked) < LookInterval)
                {
                    return _current;
                }

                _looked = _time.GetTimestamp();
            }

            Look();
            return _current;
        }
    }

    private void Look()
    {
        var stamp = Stamp();
        lock (_lock)
        {
            if (stamp == _stamp)
            {
                return;
            }

            _stamp = stamp; // one try for each content
        }

        try
        {
            _current = _load();
            LogRenewed(_logger, string.Join(", ", _values.Where(Pem.IsPath)));
        }
        catch (InvalidOperationException exception)
        {
            LogKept(_logger, exception.Message);
        }
    }

    private string Stamp()
    {
        var stamp = new StringBuilder();
        foreach (var value in _values.Where(Pem.IsPath))
        {
            try
            {
                stamp.Append(Convert.ToHexString(SHA256.HashData(File.ReadAllBytes(value)))).Append(' ');
            }
            catch (Exception exception)
                when (exception is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
            {
                stamp.Append("unreadable ");
            }
        }

        return stamp.ToString();
    }

    [LoggerMessage(EventId = 3601, Level = LogLevel.Information, Message = "Certificates were renewed: {Paths}")]
    private static partial void LogRenewed(ILogger logger, string paths);

    [LoggerMessage(
        EventId = 3602,
        Level = LogLevel.Warning,
        Message = "Certificate files changed but cannot be used; the previous ones stay in use. {Problem}"
    )]
    private static partial void LogKept(ILogger logger, string problem);
}
