using System.Net;
using Dynamo.Vllm.Protocol.Errors;

namespace Dynamo.Vllm.Transports.Media;

/// <summary>URLs that may be asked.</summary>
/// <remarks>What a name resolves to is checked where it is connected to (<see cref="GuardedConnections"/>).</remarks>
internal static class MediaUri
{
    /// <exception cref="RequestFailedException">It is not allowed.</exception>
    public static Uri Parse(string url, string field, bool allowsInternal) =>
        Uri.TryCreate(url, UriKind.Absolute, out var uri)
            ? Check(uri, field, allowsInternal)
            : throw MediaRefusal.Of(field, "the text is no URL");

    /// <exception cref="RequestFailedException">It is not allowed.</exception>
    public static Uri Follow(Uri current, string location, string field, bool allowsInternal) =>
        Uri.TryCreate(current, location, out var next)
            ? Check(next, $"{field}, redirected", allowsInternal)
            : throw MediaRefusal.Of(field, "the redirect leads to no URL");

    private static Uri Check(Uri uri, string field, bool allowsInternal)
    {
        if (uri.Scheme is not ("http" or "https"))
        {
            throw MediaRefusal.Of(field, $"URLs of the scheme '{MediaRefusal.Short(uri.Scheme)}' are not allowed");
        }

        if (uri.Scheme == "http" && !allowsInternal)
        {
            throw MediaRefusal.Of(field, "http:// URLs are not allowed; DYN_MM_ALLOW_INTERNAL=1 of the worker allows them");
        }

        if (uri.Host.Length == 0)
        {
            throw MediaRefusal.Of(field, "the URL names no host");
        }

        if (allowsInternal)
        {
            return uri;
        }

        return BlockedAddresses.Contains(uri.IdnHost) ? throw MediaRefusal.Of(field, $"the host '{uri.IdnHost}' is internal")
            : IPAddress.TryParse(uri.IdnHost, out var address) && BlockedAddresses.Contains(address)
                ? throw MediaRefusal.Of(field, $"the address {address} is internal")
            : uri;
    }
}
