using System.Threading.Channels;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol.Requests;

namespace Dynamo.Vllm.UnitTests.Core.Requests;

/// <summary>Reaches every caller, unless told otherwise, and hands the calls to the test.</summary>
internal sealed class CallHomeDialerFake : ICallHomeDialer
{
    private readonly Channel<CallHomeFake> _calls = Channel.CreateUnbounded<CallHomeFake>(); // as many as the test sends requests

    public Exception? Failure { get; set; }

    public ValueTask<CallHomeFake> NextAsync() => _calls.Reader.ReadAsync();

    public Task<ICallHome> DialAsync(RequestEnvelope envelope, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        if (Failure is not null)
        {
            return Task.FromException<ICallHome>(Failure);
        }

        var call = new CallHomeFake(envelope);
        _calls.Writer.TryWrite(call);
        return Task.FromResult<ICallHome>(call);
    }
}
