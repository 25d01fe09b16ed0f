using System.Net;
using Dynamo.Vllm.Protocol.Errors;
using Dynamo.Vllm.Transports.Media;

namespace Dynamo.Vllm.UnitTests.Transports.Media;

/// <summary>What a client must not make a worker ask.</summary>
public sealed class MediaAddressTests
{
    [Theory]
    [InlineData("0.1.2.3")]
    [InlineData("10.0.0.1")]
    [InlineData("100.64.0.1")]
    [InlineData("127.0.0.1")]
    [InlineData("169.254.169.254")]
    [InlineData("172.31.255.255")]
    [InlineData("192.168.1.1")]
    [InlineData("198.19.0.1")]
    [InlineData("224.0.0.1")]
    [InlineData("255.255.255.255")]
    [InlineData("::")]
    [InlineData("::1")]
    [InlineData("::ffff:8.8.8.8")]
    [InlineData("fd00::1")]
    [InlineData("fe80::1%2")]
    [InlineData("ff02::1")]
    [InlineData("64:ff9b::10.0.0.1")]
    public void Internal_addresses_are_known(string address) => Assert.True(BlockedAddresses.Contains(IPAddress.Parse(address)));

    [Theory]
    [InlineData("8.8.8.8")]
    [InlineData("172.32.0.1")]
    [InlineData("100.128.0.1")]
    [InlineData("2606:4700::1111")]
    [InlineData("64:ff9b::8.8.8.8")]
    public void Public_addresses_are_let_through(string address) => Assert.False(BlockedAddresses.Contains(IPAddress.Parse(address)));

    [Theory]
    [InlineData("https://127.0.0.1/a", "the address 127.0.0.1 is internal")]
    [InlineData("https://2130706433/a", "the address 127.0.0.1 is internal")]
    [InlineData("https://0x7f.1/a", "the address 127.0.0.1 is internal")]
    [InlineData("https://[::1]/a", "the address ::1 is internal")]
    [InlineData("https://user:secret@LOCALHOST:8/a", "the host 'localhost' is internal")]
    [InlineData("https://metadata.google.internal./a", "the host 'metadata.google.internal.' is internal")]
    [InlineData("http://example.com/a", "http:// URLs are not allowed; DYN_MM_ALLOW_INTERNAL=1 of the worker allows them")]
    [InlineData("gopher://example.com/a", "URLs of the scheme 'gopher' are not allowed")]
    [InlineData("https://", "the text is no URL")]
    public void Urls_that_lead_inside_are_refused(string url, string problem)
    {
        var failure = Assert.Throws<RequestFailedException>(() => MediaUri.Parse(url, "field", allowsInternal: false));
        Assert.Equal($"field: {problem}", failure.Error.PublicMessage);
    }

    [Theory]
    [InlineData("https://example.com/a")]
    [InlineData("https://8.8.8.8/a")]
    public void Others_are_allowed(string url) => Assert.Equal(url, MediaUri.Parse(url, "field", allowsInternal: false).ToString());

    [Fact]
    public void A_redirect_is_checked_as_the_first_url_was()
    {
        var current = new Uri("https://example.com/a/b");
        Assert.Equal("https://example.com/c", MediaUri.Follow(current, "/c", "field", allowsInternal: false).ToString());
        var failure = Assert.Throws<RequestFailedException>(() =>
            MediaUri.Follow(current, "//169.254.169.254/latest", "field", allowsInternal: false)
        );
        Assert.Equal("field, redirected: the address 169.254.169.254 is internal", failure.Error.PublicMessage);
    }
}
