using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Protocol.Errors;
using Dynamo.Vllm.Protocol.Requests;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.PythonTests;

/// <summary>The real interpreter, guest and drive, over the simulated engine.</summary>
[Collection("engine")]
public sealed class EngineTests
{
    private readonly EngineFixture _fixture;

    public EngineTests(EngineFixture fixture) => _fixture = fixture;

    private IEngine Engine => _fixture.Engine;

    [Fact]
    public void Description_holds_the_limits_of_the_running_engine()
    {
        var facts = Engine.Description;
        Assert.Equal(1000, facts.MaxModelLength);
        Assert.Equal(16, facts.BlockSize);
        Assert.Equal(256, facts.NumGpuBlocks);
        Assert.Equal(64, facts.MaxNumSeqs);
        Assert.EndsWith("simulated", facts.EngineVersion, StringComparison.Ordinal);
        Assert.EndsWith("/model", _fixture.EngineArguments["model"]!.GetValue<string>(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_request_streams_its_tokens_and_ends_once()
    {
        var result = await RunAsync(Request([1, 2, 3], maxTokens: 12));
        Assert.Equal(12, result.Tokens.Count);
        Assert.Equal(FinishReason.Length, result.Finish);
        Assert.Equal(3, result.PromptTokens);
        Assert.Equal(1, result.Ends);
    }

    [Fact]
    public async Task The_same_prompt_gives_the_same_tokens_and_hits_the_prefix_cache()
    {
        var prompt = Enumerable.Range(5, 40).ToArray();
        var first = await RunAsync(Request(prompt, maxTokens: 5));
        var second = await RunAsync(Request(prompt, maxTokens: 5));
        Assert.Equal(first.Tokens, second.Tokens);
        Assert.Equal(32, second.CachedTokens);
    }

    [Fact]
    public async Task Eight_at_once_each_get_their_own_end()
    {
        var results = await Task.WhenAll(Enumerable.Range(1, 8).Select(i => RunAsync(Request([i, i + 1], maxTokens: 20 + i))));
        Assert.All(results.Select((result, i) => (result, i)), pair => Assert.Equal(21 + pair.i, pair.result.Tokens.Count));
        Assert.Equal(0, Engine.RunningRequests);
    }

    [Fact]
    public async Task An_abort_ends_the_stream_as_aborted()
    {
        var stream = Engine.Submit(Request([1, 2], maxTokens: 900));
        var output = await NextAsync(stream);
        Assert.NotEqual(FinishReason.Abort, output.Finish);
        stream.Abort();
        while (output.Finish == FinishReason.None)
        {
            output = await NextAsync(stream);
        }

        Assert.Equal(FinishReason.Abort, output.Finish);
        Assert.True(output.IsLast);
        Assert.Equal(0, Engine.RunningRequests);
    }

    [Fact]
    public async Task An_abort_right_after_the_submission_is_not_lost()
    {
        var stream = Engine.Submit(Request([1, 2], maxTokens: 900));
        stream.Abort();
        stream.Abort();
        var result = await ReadAsync(stream);
        Assert.Equal(FinishReason.Abort, result.Finish);
    }

    [Fact]
    public async Task Logprobs_come_with_the_text_of_each_candidate()
    {
        var request = Request([1, 2, 3], maxTokens: 3);
        request.Options.Logprobs = 2;
        var stream = Engine.Submit(request);
        var tokens = 0;
        EngineOutput output;
        do
        {
            output = await NextAsync(stream);
            tokens += output.Tokens.Length;
            Assert.Equal(output.Tokens.Length, output.Logprobs!.Count);
            Assert.All(output.Logprobs, entry => Assert.True(entry.Top.Count >= 2 && entry.Selected <= 0));
            Assert.All(output.Logprobs, entry => Assert.Contains(entry.Top, candidate => !candidate.TokenUtf8.IsEmpty));
        } while (!output.IsLast);
        Assert.Equal(3, tokens);
    }

    [Fact]
    public async Task Several_choices_end_each_for_itself()
    {
        var request = Request([1, 2, 3], maxTokens: 6);
        request.Options.SamplingOptions.N = 3;
        request.Options.SamplingOptions.Temperature = 0.9;
        var result = await RunAsync(request);
        Assert.Equal(18, result.Tokens.Count);
        Assert.Equal(3, result.Ends);
    }

    [Fact]
    public async Task A_refused_parameter_keeps_the_engine_s_words_and_status()
    {
        var request = Request([1], maxTokens: 5);
        request.Options.SamplingOptions.Temperature = -1;
        var failure = await Assert.ThrowsAsync<RequestFailedException>(() => RunAsync(request));
        Assert.Equal("request.invalid", failure.Error.Reason);
        Assert.Contains("temperature must be non-negative, got -1", failure.Error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_prompt_above_the_context_is_refused()
    {
        var failure = await Assert.ThrowsAsync<RequestFailedException>(() => RunAsync(Request(new int[2000], maxTokens: 5)));
        Assert.Contains("The decoder prompt (length 2000)", failure.Error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("float32")]
    [InlineData("bfloat16")]
    public async Task Prompt_embeddings_are_a_prompt_of_as_many_tokens_as_they_have_rows(string type)
    {
        var first = await RunAsync(Embeddings(Golden.Text($"embeds/{type}.b64")));
        var second = await RunAsync(Embeddings(Golden.Text($"embeds/{type}.b64")));
        Assert.Equal(6, first.Tokens.Count);
        Assert.Equal(3, first.PromptTokens);
        Assert.Equal(first.Tokens, second.Tokens);
    }

    [Theory]
    [InlineData("one-dimension", "must be a 2D tensor of shape (num_tokens, hidden_size); got shape (128,). (parameter=prompt_embeds)")]
    [InlineData("wrong-width", "hidden_size 64 does not match the model's hidden_size 128.")]
    [InlineData("integers", "dtype torch.int32 is not a floating-point type")]
    public async Task Prompt_embeddings_that_the_engine_refuses_are_refused_in_its_words(string name, string words)
    {
        var failure = await Assert.ThrowsAsync<RequestFailedException>(() => RunAsync(Embeddings(Golden.Text($"embeds/{name}.b64"))));
        Assert.Equal("backend.invalid_argument", failure.Error.Reason);
        Assert.Contains(
            "Failed to decode prompt_embeds as PyTorch tensor: `prompt_embeds`",
            failure.Error.Message,
            StringComparison.Ordinal
        );
        Assert.Contains(words, failure.Error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("%%%")]
    [InlineData("aGVsbG8=")]
    public async Task Prompt_embeddings_that_are_no_tensor_are_refused(string text)
    {
        var failure = await Assert.ThrowsAsync<RequestFailedException>(() => RunAsync(Embeddings(text)));
        Assert.Equal("backend.invalid_argument", failure.Error.Reason);
        Assert.Contains("Failed to decode prompt_embeds as PyTorch tensor: ", failure.Error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Control_calls_answer_and_what_the_engine_cannot_take_is_refused()
    {
        using var limit = new CancellationTokenSource(EngineFixture.TimeLimit);
        await Engine.Control.CheckHealthAsync(limit.Token);
        await Engine.Control.RoundTripAsync(limit.Token);
        Assert.True(await Engine.Control.ResetPrefixCacheAsync(resetConnector: true, resetRunningRequests: false, limit.Token));
        Assert.Contains("vllm:num_requests_running", await Engine.Control.ReadMetricsAsync(limit.Token), StringComparison.Ordinal);
        await Engine.Control.PauseAsync(PauseMode.Keep, clearCache: false, limit.Token);
        await Engine.Control.ResumeAsync(limit.Token);
        await Engine.Control.SleepAsync(null, limit.Token);
        await Engine.Control.WakeUpAsync(null, limit.Token);
        var refusal = await Assert.ThrowsAsync<EngineCallException>(() => Engine.Control.SleepAsync("deep", limit.Token));
        Assert.NotEmpty(refusal.Message);
    }

    [Fact]
    public async Task A_thousand_requests_with_random_aborts_leave_nothing_behind()
    {
        var random = new Random(7);
        var plans = Enumerable
            .Range(0, 1000)
            .Select(_ => (Tokens: random.Next(1, 30), AbortAfter: random.Next(3) == 0 ? random.Next(1, 10) : int.MaxValue))
            .ToArray();
        await Parallel.ForEachAsync(
            plans,
            new ParallelOptions { MaxDegreeOfParallelism = 100 },
            async (plan, _) =>
            {
                var stream = Engine.Submit(Request([1, plan.Tokens], plan.Tokens));
                var seen = 0;
                EngineOutput output;
                do
                {
                    output = await NextAsync(stream);
                    seen += output.Tokens.Length;
                    if (seen >= plan.AbortAfter)
                    {
                        stream.Abort();
                    }
                } while (!output.IsLast);
                Assert.True(seen == plan.Tokens || plan.AbortAfter < int.MaxValue);
            }
        );
        Assert.Equal(0, Engine.RunningRequests);
    }

    private static EngineRequest Request(int[] prompt, int maxTokens)
    {
        var options = new PreprocessedRequest { TokenIds = prompt, HasTokenIds = true };
        options.SamplingOptions.Temperature = 0;
        options.StopConditions.IgnoreEos = true;
        return new EngineRequest
        {
            RequestId = Guid.NewGuid().ToString(),
            Options = options,
            MaxTokens = maxTokens,
        };
    }

    private static EngineRequest Embeddings(string text)
    {
        var request = Request([], maxTokens: 6);
        request.Options.PromptEmbeds = text;
        return request;
    }

    private Task<Result> RunAsync(EngineRequest request) => ReadAsync(Engine.Submit(request));

    private static async Task<EngineOutput> NextAsync(IEngineStream stream)
    {
        EngineOutput? output;
        while (!stream.TryTake(out output))
        {
            await stream.WaitAsync().AsTask().WaitAsync(EngineFixture.TimeLimit);
        }

        return output;
    }

    private static async Task<Result> ReadAsync(IEngineStream stream)
    {
        var result = new Result();
        EngineOutput output;
        do
        {
            output = await NextAsync(stream);
            result.Tokens.AddRange(output.Tokens.ToArray());
            result.PromptTokens = output.PromptTokens;
            result.CachedTokens = output.CachedTokens;
            if (output.Finish != FinishReason.None)
            {
                result.Finish = output.Finish;
                result.Ends++;
            }
        } while (!output.IsLast);
        return result;
    }

    private sealed class Result
    {
        public List<int> Tokens { get; } = [];

        public FinishReason Finish { get; set; }

        public int? PromptTokens { get; set; }

        public int? CachedTokens { get; set; }

        public int Ends { get; set; }
    }
}
