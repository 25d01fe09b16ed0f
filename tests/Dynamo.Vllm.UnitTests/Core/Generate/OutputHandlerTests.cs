using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Core.Generate;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Errors;
using Dynamo.Vllm.Protocol.Requests;

namespace Dynamo.Vllm.UnitTests.Core.Generate;

public sealed class OutputHandlerTests
{
    private static readonly GenerateOptions Options = new() { BaseModelNames = new HashSet<string> { "tiny" } };

    private readonly ScriptedEngine _engine = new();
    private readonly ResponsesFake _responses = new();
    private readonly RequestContext _context = new("r", PayloadCodec.Json, default, new Dictionary<string, string>());
    private readonly List<FinishReason> _ends = [];

    [Fact]
    public async Task Outputs_go_to_whoever_asked_and_what_is_text_to_the_engine()
    {
        var text = new EngineText { StopStrings = ["x"] };
        var run = Handle(new PreprocessedRequest { HasTokenIds = true, TokenIds = [1, 2, 3] }, text);
        Assert.Same(text, _engine.Requests[0].Text);
        _engine.Streams[0].Push([5]);
        _engine.Streams[0].Push([6], FinishReason.Stop, isLast: true);
        await run;
        Assert.Equal([FinishReason.None, FinishReason.Stop], _ends);
        Assert.Empty(_responses.Items);
    }

    [Fact]
    public async Task An_abort_is_told_as_the_engine_tells_it()
    {
        var run = Handle(new PreprocessedRequest { HasTokenIds = true, TokenIds = [1] });
        _context.Cancel(CancellationCause.Operator);
        await run;
        Assert.Equal([FinishReason.Abort], _ends);
    }

    [Fact]
    public async Task The_end_of_the_worker_is_an_error_and_no_abort()
    {
        var run = Handle(new PreprocessedRequest { HasTokenIds = true, TokenIds = [1] });
        _context.Cancel(CancellationCause.Shutdown);
        var error = (await Assert.ThrowsAsync<RequestFailedException>(() => run)).Error;
        Assert.Equal("backend.engine_shutdown", error.Reason);
        Assert.Empty(_ends);
    }

    [Fact]
    public async Task While_blocks_are_pulled_the_engine_is_not_disturbed()
    {
        var pulls = new PreprocessedRequest
        {
            HasTokenIds = true,
            TokenIds = [1],
            KvTransferParamsJson = """{"do_remote_prefill":true}"""u8.ToArray(),
        };
        var run = Handle(pulls);
        _context.Cancel(CancellationCause.Disconnect);
        Assert.Equal(0, _engine.Streams[0].Aborts);
        _engine.Streams[0].Push([5]);
        await run;
        Assert.Equal(1, _engine.Streams[0].Aborts);
        Assert.Empty(_ends); // nobody hears them
    }

    [Fact]
    public async Task What_others_are_refused_for_it_is_refused_for()
    {
        var tooLong = new PreprocessedRequest { HasTokenIds = true, TokenIds = new int[101] };
        await Assert.ThrowsAsync<RequestFailedException>(() => Handle(tooLong));
        Assert.Empty(_engine.Requests);
    }

    private Task Handle(PreprocessedRequest request, EngineText? text = null)
    {
        var handler = new OutputHandler(
            _engine,
            Options,
            adapters: null,
            () => (request, text),
            output =>
            {
                _ends.Add(output.Finish);
                return ValueTask.CompletedTask;
            }
        );
        return handler.HandleAsync(_context, _responses);
    }
}
