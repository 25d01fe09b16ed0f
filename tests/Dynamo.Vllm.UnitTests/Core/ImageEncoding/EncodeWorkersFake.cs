using Dynamo.Vllm.Core.ImageEncoding;
using Dynamo.Vllm.Protocol.ImageEncoding;

namespace Dynamo.Vllm.UnitTests.Core.ImageEncoding;

/// <summary>Encodes whatever it is asked for.</summary>
internal sealed class EncodeWorkersFake : IEncodeWorkers
{
    public List<EncodeRequest> Asked { get; } = [];

    public Task<IReadOnlyList<EncodedImage>> EncodeAsync(EncodeRequest request, CancellationToken cancellationToken)
    {
        Asked.Add(request);
        return Task.FromResult<IReadOnlyList<EncodedImage>>([.. request.Urls.Select(VisionEngineFake.Offer)]);
    }
}
