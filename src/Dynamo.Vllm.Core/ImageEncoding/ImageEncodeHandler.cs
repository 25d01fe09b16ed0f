using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Core.Multimodal;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol.Errors;
using Dynamo.Vllm.Protocol.ImageEncoding;
using Dynamo.Vllm.Protocol.Multimodal;

namespace Dynamo.Vllm.Core.ImageEncoding;

/// <summary>The <c>generate</c> endpoint of an encode worker: URLs of images in, one item that says where their embeddings are.</summary>
/// <remarks>Fetching has the bounds that it has everywhere (<see cref="IMediaSource"/>); the interpreter sees bytes alone.</remarks>
public sealed class ImageEncodeHandler(IVisionEngine engine, IMediaSource source) : IEndpointHandler
{
    public async Task HandleAsync(RequestContext context, IResponseWriter responses)
    {
        var request = EncodeRequest.Parse(context.Body.Span, context.Codec);
        context.ReleaseBody();
        IReadOnlyList<EncodedImage> encoded;
        try
        {
            var images = await FetchAsync(request, context.Cancelled);
            encoded = await engine.EncodeImagesAsync(images, request.CacheScope, context.Cancelled);
        }
        catch (OperationCanceledException) when (context.IsCallerGone)
        {
            return;
        }
        catch (OperationCanceledException) when (context.Cause == CancellationCause.Shutdown)
        {
            throw new RequestFailedException(DynamoError.EngineShutdown("The worker was shut down while images were encoded."));
        }

        await responses.WriteAsync(request.ToAnswerJson(encoded));
    }

    private async Task<IReadOnlyList<ReadOnlyMemory<byte>>> FetchAsync(EncodeRequest request, CancellationToken cancellationToken)
    {
        var images = await FailFast.AllAsync(
            request.Urls.Select(
                (url, index) =>
                    (Func<CancellationToken, Task<ReadOnlyMemory<byte>>>)(
                        stop => source.FetchAsync(MediaKind.Image, url, $"multi_modal_data.image_url[{index}]", request.CacheScope, stop)
                    )
            ),
            cancellationToken
        );
        MediaLoader.CheckSize(images.Sum(image => (long)image.Length));
        return images;
    }
}
