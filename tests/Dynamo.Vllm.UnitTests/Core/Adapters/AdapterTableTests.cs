using Dynamo.Vllm.Core.Adapters;
using Dynamo.Vllm.Protocol.Errors;

namespace Dynamo.Vllm.UnitTests.Core.Adapters;

public sealed class AdapterTableTests
{
    private readonly AdapterTable _table = new(new AdapterLimits { LoadedMax = 2 });

    [Fact]
    public async Task A_name_that_is_not_loaded_is_not_admitted()
    {
        Assert.Null(await _table.AdmitAsync("a", default));
        using var change = await _table.BeginChangeAsync("a", default);
        Assert.Null(await _table.AdmitAsync("a", default)); // a first load is no reason to wait
    }

    [Fact]
    public async Task A_request_that_comes_during_a_swap_waits_and_gets_the_new_version()
    {
        await LoadAsync("a");
        var change = await _table.BeginChangeAsync("a", default);
        var admission = _table.AdmitAsync("a", default).AsTask();
        Assert.False(admission.IsCompleted);
        change.Set(new LoadedAdapter("a", 1, "/new"));
        change.Dispose();
        using var use = await admission;
        Assert.Equal("/new", use!.Adapter.Path);
    }

    [Fact]
    public async Task A_request_whose_adapter_vanishes_while_it_waits_is_told_so()
    {
        await LoadAsync("a");
        var change = await _table.BeginChangeAsync("a", default);
        var admission = _table.AdmitAsync("a", default).AsTask();
        change.Set(null);
        change.Dispose();
        var failure = await Assert.ThrowsAsync<RequestFailedException>(() => admission);
        Assert.Equal(
            ("backend.invalid_argument", "ValueError: unknown model or LoRA adapter: 'a'"),
            (failure.Error.Reason, failure.Error.Message)
        );
    }

    [Fact]
    public async Task A_caller_that_leaves_waits_no_longer()
    {
        await LoadAsync("a");
        using var change = await _table.BeginChangeAsync("a", default);
        using var leaving = new CancellationTokenSource();
        var admission = _table.AdmitAsync("a", leaving.Token).AsTask();
        var second = _table.BeginChangeAsync("a", leaving.Token);
        await leaving.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => admission);
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => second);
    }

    [Fact]
    public async Task An_adapter_is_idle_when_its_last_request_has_ended()
    {
        await LoadAsync("a");
        var first = await _table.AdmitAsync("a", default);
        var second = await _table.AdmitAsync("a", default);
        using var change = await _table.BeginChangeAsync("a", default);
        var idle = change.WhenIdleAsync(default);
        first!.Dispose();
        first.Dispose(); // once more than there were
        Assert.False(idle.IsCompleted);
        second!.Dispose();
        await idle;
        await change.WhenIdleAsync(default);
    }

    [Fact]
    public async Task Changes_of_one_adapter_take_turns_and_those_of_others_do_not_wait()
    {
        var first = await _table.BeginChangeAsync("a", default);
        var second = _table.BeginChangeAsync("a", default);
        using var other = await _table.BeginChangeAsync("b", default);
        Assert.False(second.IsCompleted);
        first.Set(new LoadedAdapter("a", 1, "/a"));
        first.Dispose();
        first.Dispose(); // ends nobody else's
        using var change = await second;
        Assert.NotNull(change.Current);
        Assert.False(_table.BeginChangeAsync("a", default).IsCompleted);
    }

    [Fact]
    public async Task No_more_than_the_limit_are_loaded_or_loading()
    {
        await LoadAsync("a");
        using var loading = await _table.BeginChangeAsync("b", default);
        Assert.True(loading.TryReserve());
        using (var late = await _table.BeginChangeAsync("c", default))
        {
            Assert.False(late.TryReserve());
        }

        loading.Dispose(); // came to nothing
        using var again = await _table.BeginChangeAsync("c", default);
        Assert.True(again.TryReserve());
    }

    [Fact]
    public async Task The_list_is_in_the_order_of_the_loads_and_a_swap_keeps_the_place()
    {
        await LoadAsync("b");
        await LoadAsync("a");
        await LoadAsync("b");
        Assert.Equal(["b", "a"], _table.Loaded.Select(adapter => adapter.Name));
        await SetAsync("b", null);
        await LoadAsync("b");
        Assert.Equal(["a", "b"], _table.Loaded.Select(adapter => adapter.Name));
    }

    [Fact]
    public async Task A_pause_that_keeps_requests_is_refused_while_an_adapter_has_some()
    {
        await LoadAsync("b");
        await LoadAsync("a");
        var uses = new[] { await _table.AdmitAsync("b", default), await _table.AdmitAsync("a", default) };
        Assert.Equal(["a", "b"], _table.Pause(keepsRequests: true));
        (await _table.AdmitAsync("a", default))!.Dispose();
        Assert.Empty(_table.Pause(keepsRequests: false));
        using (var change = await _table.BeginChangeAsync("a", default))
        {
            Assert.True(change.IsFrozen);
        }

        var failure = await Assert.ThrowsAsync<RequestFailedException>(() => _table.AdmitAsync("a", default).AsTask());
        Assert.Equal(
            ("backend.unknown", "RuntimeError: Cannot admit LoRA request 'a' while generation is paused"),
            (failure.Error.Reason, failure.Error.Message)
        );
        _table.Resume();
        (await _table.AdmitAsync("a", default))!.Dispose();
        Array.ForEach(uses, use => use!.Dispose());
        Assert.Empty(_table.Pause(keepsRequests: true));
    }

    [Fact]
    public async Task Thousands_of_requests_and_changes_leave_nothing_behind()
    {
        var isWrong = false;
        await Task.WhenAll(
                Enumerable
                    .Range(0, 4)
                    .Select(worker =>
                        Task.Run(async () =>
                        {
                            for (var i = 0; i < 2000; i++)
                            {
                                if (worker == 0)
                                {
                                    using var change = await _table.BeginChangeAsync("a", default);
                                    await change.WhenIdleAsync(default);
                                    change.Set(i % 3 == 0 ? null : new LoadedAdapter("a", i, "/a"));
                                    await Task.Yield();
                                    continue;
                                }

                                try
                                {
                                    using var use = await _table.AdmitAsync("a", default);
                                    if (use is not null)
                                    {
                                        await Task.Yield();
                                        isWrong |= _table.Loaded.Count != 1 || _table.Loaded[0] != use.Adapter;
                                    }
                                }
                                catch (RequestFailedException)
                                {
                                    // It vanished while this request waited.
                                }
                            }
                        })
                    )
            )
            .WaitAsync(TimeSpan.FromMinutes(1));
        Assert.False(isWrong, "an adapter was changed under a request");
        await SetAsync("a", null);
        Assert.Empty(_table.Loaded);
    }

    private Task LoadAsync(string name) => SetAsync(name, new LoadedAdapter(name, AdapterId.Of(name), $"/{name}"));

    private async Task SetAsync(string name, LoadedAdapter? adapter)
    {
        using var change = await _table.BeginChangeAsync(name, default);
        change.Set(adapter);
    }
}
