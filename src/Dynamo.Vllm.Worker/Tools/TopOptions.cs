namespace Dynamo.Vllm.Worker.Tools;

/// <summary>What <c>top</c> was asked for.</summary>
/// <param name="Pages">Metrics pages of the workers, in the order of the table.</param>
/// <param name="Interval">Between two looks.</param>
/// <param name="Count">Tables until it ends; 0 for no end.</param>
internal sealed record TopOptions(IReadOnlyList<Uri> Pages, TimeSpan Interval, int Count)
{
    /// <summary>Of addresses: more do not fit a screen, and each is a connection.</summary>
    public const int PagesMax = 128;

    public const double SecondsMin = 0.2;

    public const double SecondsMax = 3600;

    /// <param name="addresses">Status ports: a port of this host, HOST:PORT, or a URL. None: that of <paramref name="systemPort"/>.</param>
    /// <param name="systemPort">Value of <c>DYN_SYSTEM_PORT</c>, or null.</param>
    /// <param name="seconds">Between two looks.</param>
    /// <param name="count">Tables until it ends.</param>
    /// <exception cref="FormatException">Something cannot be used; the message says what.</exception>
    public static TopOptions Of(IReadOnlyList<string> addresses, string? systemPort, double seconds, int count)
    {
        if (addresses.Count == 0)
        {
            addresses = systemPort is { Length: > 0 } ? [systemPort] : [];
        }

        if (addresses.Count is 0 or > PagesMax)
        {
            throw new FormatException(
                addresses.Count == 0
                    ? "no worker to look at: give the address of a status port (HOST:PORT), or set DYN_SYSTEM_PORT"
                    : $"{addresses.Count} addresses, above the limit {PagesMax}"
            );
        }

        if (seconds is not (>= SecondsMin and <= SecondsMax))
        {
            throw new FormatException($"--interval must be between {SecondsMin} and {SecondsMax} seconds, got {seconds}");
        }

        return count >= 0
            ? new TopOptions([.. addresses.Select(PageOf)], TimeSpan.FromSeconds(seconds), count)
            : throw new FormatException($"--count must be at least 0, got {count}");
    }

    private static Uri PageOf(string address)
    {
        var text =
            address.Contains("://", StringComparison.Ordinal) ? address
            : address.Contains(':', StringComparison.Ordinal) ? "http://" + address
            : "http://127.0.0.1:" + address;
        return Uri.TryCreate(text, UriKind.Absolute, out var uri) && uri.Scheme is ("http" or "https") && uri.UserInfo.Length == 0
            ? new Uri(uri, "/metrics")
            : throw new FormatException($"'{address}' is no address of a status port: HOST:PORT, or http:// or https:// with it");
    }
}
