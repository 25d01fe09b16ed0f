using Dynamo.Vllm.Engine.Processes;
using Dynamo.Vllm.UnitTests.Core.Lifecycle;
using Dynamo.Vllm.Worker.ServiceManager;
using Microsoft.Extensions.Time.Testing;

namespace Dynamo.Vllm.UnitTests.Worker.ServiceManager;

public sealed class StartPatienceTests
{
    private static readonly TimeSpan Silence = TimeSpan.FromSeconds(120);

    private readonly FakeTimeProvider _time = new();
    private readonly StageFake _engine = new("engine", []);
    private LoadWork? _work = new LoadWork(TimeSpan.FromSeconds(10), 1_000_000);

    [Fact]
    public void A_stage_is_waited_for_in_pieces_up_to_its_limit()
    {
        var patience = Create();
        var planes = new StageFake("planes", []);
        for (var time = TimeSpan.Zero; time < StartPatience.StageLimit; time += StartPatience.Window)
        {
            Assert.Equal(StartPatience.Piece, patience.Grant(planes, isPython: false));
            _time.Advance(StartPatience.Window);
        }

        Assert.Null(patience.Grant(planes, isPython: false));
        Assert.Equal(Silence, patience.Grant(_engine, isPython: true));
    }

    [Theory]
    [InlineData(60, 0, 0, true)] // 0.6 % of a core
    [InlineData(0, 2_000_000, 0, true)] // from a slow disk
    [InlineData(0, 0, 1, true)] // from a slow hub
    [InlineData(-5000, 0, 0, true)] // a helper has ended, and its time with it
    [InlineData(0, 0, 0, false)]
    [InlineData(10, 4096, 0, false)] // polls
    public void A_load_is_waited_for_while_it_works(int milliseconds, long bytes, long fetched, bool isWaitedFor)
    {
        var patience = Create();
        patience.Grant(_engine, isPython: true);
        for (var window = 0; window < 100; window++)
        {
            _time.Advance(StartPatience.Window / 2);
            Assert.Null(patience.Grant(_engine, isPython: true)); // looked at in whole windows
            _time.Advance(StartPatience.Window / 2);
            _work = new LoadWork(
                _work!.Value.Cpu + TimeSpan.FromMilliseconds(milliseconds),
                _work.Value.BytesRead + bytes,
                _work.Value.BytesFetched + fetched
            );
            Assert.Equal(isWaitedFor ? Silence : null, patience.Grant(_engine, isPython: true));
        }
    }

    [Fact]
    public void A_load_on_other_hosts_is_waited_for_up_to_the_limit_of_all()
    {
        _work = null;
        var patience = Create();
        patience.Grant(_engine, isPython: true);
        for (var time = StartPatience.Window; time < StartPatience.Limit; time += StartPatience.Window)
        {
            _time.Advance(StartPatience.Window);
            Assert.Equal(Silence, patience.Grant(_engine, isPython: true));
        }

        _time.Advance(StartPatience.Window);
        Assert.Null(patience.Grant(_engine, isPython: true));
    }

    [Fact]
    public void Without_a_stall_limit_silence_is_waited_for()
    {
        var patience = new StartPatience(() => _work, null, _time);
        patience.Grant(_engine, isPython: true);
        _time.Advance(StartPatience.Window);
        Assert.Equal(StartPatience.StageLimit, patience.Grant(_engine, isPython: true));
    }

    [Fact]
    public void The_work_of_this_machine_can_be_read() => Assert.True(LoadWork.Read().BytesRead >= 0);

    private StartPatience Create() => new(() => _work, Silence, _time);
}
