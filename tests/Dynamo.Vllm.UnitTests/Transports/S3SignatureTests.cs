using Dynamo.Vllm.Transports.Adapters;

namespace Dynamo.Vllm.UnitTests.Transports;

public sealed class S3SignatureTests
{
    /// <summary>AWS's own example of a GET of an object ("Authenticating Requests: Using the Authorization Header").</summary>
    [Fact]
    public void The_signature_is_that_of_the_published_example()
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, "https://examplebucket.s3.amazonaws.com/test.txt");
        request.Headers.Add("Range", "bytes=0-9");
        var options = new S3Options
        {
            AccessKeyId = "AKIAIOSFODNN7EXAMPLE",
            SecretAccessKey = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            Region = "us-east-1",
        };
        S3Signature.Sign(request, options, new DateTimeOffset(2013, 5, 24, 0, 0, 0, TimeSpan.Zero));
        Assert.Equal(
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
                + "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,"
                + "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
            request.Headers.GetValues("Authorization").Single()
        );
    }

    /// <summary>AWS's example of a list of objects, whose query is a part of what is signed.</summary>
    [Fact]
    public void The_query_is_signed_along()
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, "https://examplebucket.s3.amazonaws.com/?max-keys=2&prefix=J");
        var options = new S3Options
        {
            AccessKeyId = "AKIAIOSFODNN7EXAMPLE",
            SecretAccessKey = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            Region = "us-east-1",
        };
        S3Signature.Sign(request, options, new DateTimeOffset(2013, 5, 24, 0, 0, 0, TimeSpan.Zero));
        Assert.EndsWith(
            "Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
            request.Headers.GetValues("Authorization").Single(),
            StringComparison.Ordinal
        );
    }
}
