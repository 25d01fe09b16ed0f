using Dynamo.Vllm.Protocol.Errors;

namespace Dynamo.Vllm.Transports.Media;

/// <summary>Refusals of a medium that the client named, in words for the client.</summary>
internal static class MediaRefusal
{
    /// <summary>Characters of a client's own text in a refusal.</summary>
    private const int ShownMax = 120;

    public static RequestFailedException Of(string field, string problem, int status = 400, Exception? cause = null) =>
        cause is null
            ? new RequestFailedException(DynamoError.Medium(status, $"{field}: {problem}"))
            : new RequestFailedException(DynamoError.Medium(status, $"{field}: {problem}"), cause);

    /// <summary>A host or scheme out of the URL, cut to a length that no log and no client minds.</summary>
    public static string Short(string text) => text.Length <= ShownMax ? text : $"{text[..ShownMax]}... ({text.Length} characters)";
}
