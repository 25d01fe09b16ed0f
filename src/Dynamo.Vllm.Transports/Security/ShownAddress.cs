using System.Text.RegularExpressions;

namespace Dynamo.Vllm.Transports.Security;

/// <summary>Addresses for logs and reports: without the login that a URL may hold.</summary>
public static partial class ShownAddress
{
    /// <param name="addresses">One or several, separated by commas.</param>
    public static string Of(string addresses) => UserInfo().Replace(addresses, "://");

    /// <summary>Greedy: a password may hold an @ of its own; no host does.</summary>
    [GeneratedRegex("://[^/,]*@", RegexOptions.CultureInvariant)]
    private static partial Regex UserInfo();
}
