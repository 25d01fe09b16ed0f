using System.Text;
using System.Text.Json;
using Dynamo.Vllm.Worker.Tools.Bench;

namespace Dynamo.Vllm.UnitTests.Worker.Tools.Bench;

public sealed class AnswerChunkTests
{
    [Theory]
    [InlineData(
        """{"id":"x","choices":[{"index":0,"text":"hi","logprobs":{"a":[[1]]}},{"index":1}],"usage":null}""",
        true,
        null,
        null,
        null
    )]
    [InlineData("""{"choices":[{"delta":{"role":"assistant"}}],"usage":{"prompt_tokens":4,"completion_tokens":1}}""", true, 4, 1, null)]
    [InlineData(
        """{"choices":[],"usage":{"prompt_tokens":4,"prompt_tokens_details":{"cached_tokens":2},"completion_tokens":16}}""",
        false,
        4,
        16,
        null
    )]
    [InlineData("""{"error":{"message":"too long","code":400,"details":[1]}}""", false, null, null, "too long")]
    [InlineData("""{"error":"engine is dead"}""", false, null, null, "engine is dead")]
    [InlineData("""{"error":null,"choices":null}""", false, null, null, null)]
    [InlineData("""{"error":{"code":400}}""", false, null, null, "unknown")]
    [InlineData("""{"usage":{"prompt_tokens":-4,"completion_tokens":"many"}}""", false, null, null, null)]
    public void What_is_measured_is_read_and_the_rest_is_passed_over(
        string json,
        bool hasChoice,
        int? prompt,
        int? completion,
        string? error
    ) => Assert.Equal(new AnswerChunk(hasChoice, prompt, completion, error), AnswerChunk.Read(Encoding.UTF8.GetBytes(json)));

    [Theory]
    [InlineData("[]")]
    [InlineData("""{"choices":[""")]
    [InlineData("Internal Server Error")]
    public void What_is_no_object_is_refused(string text) =>
        Assert.ThrowsAny<JsonException>(() => AnswerChunk.Read(Encoding.UTF8.GetBytes(text)));
}
